"""The retail.red client against a small raw server that answers what a test scripts, or hangs, drops and dribbles."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stream.edge.api import ApiConfig, RetailRed
from stream.edge.token import Credentials

SECRET, PASSWORD = "canary-secret-7d1", "canary-password-9e2"


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Raw(bytes):
    """Bytes to write as they are; the connection is closed after them."""


Answer = bytes | Callable[[socket.socket], None]
Script = Callable[[Request], Answer]


def answer(status: int, value: object = None, *headers: str, body: bytes | None = None) -> bytes:
    payload = body if body is not None else b"" if value is None else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(payload)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + payload


class Server:
    """Every connection has a thread; requests are kept in the order in which they came."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._open: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        try:
            while line := file.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (header := file.readline().decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                request = Request(method, target, headers, file.read(int(headers.get("content-length", 0))))
                self.requests.append(request)
                reply = self.script(request)
                if callable(reply):
                    reply(connection)
                    return
                connection.sendall(reply)
                if isinstance(reply, Raw):
                    return
        except (OSError, ValueError):
            return  # the client went away, or speaks TLS
        finally:
            file.close()
            connection.close()

    def of(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.target.startswith(path)]

    def close(self) -> None:
        self.stopping.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(5)


def routes(members: Answer | list[Answer], token: Answer | list[Answer] | None = None) -> Script:
    """Answer the token route and every other one, each from its list; the last one again and again."""
    lists = {
        True: token if isinstance(token, list) else [granted("token-1") if token is None else token],
        False: members if isinstance(members, list) else [members],
    }

    def script(request: Request) -> Answer:
        left = lists[request.target == "/oauth/token"]
        return left.pop(0) if len(left) > 1 else left[0]

    return script


def granted(token: str, **more: object) -> bytes:
    return answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600, **more})


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []
        self.clients: list[RetailRed] = []
        self.observed: list[tuple[str, str]] = []
        (folder / "secret").write_text(SECRET + "\n")
        (folder / "password").write_text(PASSWORD + "\n")

    def client(self, script: Script | str, *, lease: Callable[[], bool] = lambda: True, **config: object) -> RetailRed:
        if not isinstance(script, str):
            self.servers.append(Server(script))
            script = self.servers[-1].url
        grant = config.pop("grant", "client_credentials")
        credentials = Credentials(
            client_id="shop",
            client_secret_file=self.folder / "secret",
            grant=grant,  # type: ignore[arg-type]
            username="user@shop.example",
            password_file=self.folder / "password",
        )
        settings = {
            "api_timeout_s": 5.0,
            "auth_url": script,
            "segmentation_url": script,
            "customer_url": script,
            **config,
        }
        client = RetailRed(
            ApiConfig(merchant="10006", credentials=credentials, **settings),  # type: ignore[arg-type]
            lease=lease,
            observe=lambda operation, code, _: self.observed.append((operation, code)),
        )
        self.clients.append(client)
        return client

    @property
    def server(self) -> Server:
        return self.servers[-1]


def hang(connection: socket.socket) -> None:
    connection.recv(1)
