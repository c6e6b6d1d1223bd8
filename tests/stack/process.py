"""One server process: started on loopback, watched until it serves, ended by its process id."""
# ruff: noqa: S603, S607 - starting programs is what it is for; setpriv is everywhere in PATH

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TAIL_LINES = 40
POLL_S = 0.1


class StackError(RuntimeError):
    """A server of the stack did not do what was asked. The text ends with the tail of its log."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on. All are held at once before any is let go, so no two are equal."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A process with a log of its own. It dies with the process that started it, even when that one is killed.

    Start it from the main thread: the kernel ties its life to the thread that forked it.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
    ) -> None:
        self.name = name
        self.argv = [str(part) for part in argv]
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._env = os.environ | dict(env or {})
        self._user = user or None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StackError(f"{self.name} was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None before its end; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.is_running():
            raise StackError(f"{self.name} runs already, as process {self.pid}")
        account = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload] # the account's keywords vary
                ["setpriv", "--pdeathsig", "KILL", *self.argv],
                cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for the tests, which end their servers in order
                **account,
            )  # fmt: skip

    def wait(self, is_ready: Callable[[], bool], deadline_s: float, what: str = "serve") -> None:
        """Wait until is_ready() is true. Raises StackError when the process ends before, or on the deadline."""
        until = time.monotonic() + deadline_s
        while True:
            if not self.is_running():
                code = None if self._process is None else self._process.returncode
                raise self.error(f"ended with {code} before it could {what}")
            if is_ready():
                return
            if time.monotonic() > until:
                raise self.error(f"did not {what} within {deadline_s:.0f} s")
            time.sleep(POLL_S)

    def stop(self, grace_s: float = 20, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it in its own orderly way, by force after grace_s."""
        if self._process is None:
            return
        if self.is_running():
            self.resume()
            self._process.send_signal(sign)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                # Python programs that run with PYTHONFAULTHANDLER write down where each thread is
                self._process.send_signal(signal.SIGABRT)
                try:
                    self._process.wait(5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = TAIL_LINES) -> str:
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 64_000))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def error(self, what: str) -> StackError:
        return StackError(f"{self.name} {what}. The end of {self.log}:\n{self.tail()}")
