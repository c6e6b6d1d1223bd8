"""PostgreSQL with logical decoding, in a data folder of its own, never as root."""
# ruff: noqa: S603 - it runs programs of its own installation

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from stack.kit import Kit
from stack.process import Server, StackError, free_ports

READY_S = 60
# the one that Debian's package makes, else one that is everywhere
ACCOUNTS = ("postgres", "nobody")


class Postgres:
    """Keeps its port and its data over stop, kill and start."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        folder.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self._kit = kit
        self._data = folder / "data"
        self._account = _account()
        if self._account:
            shutil.chown(folder, self._account)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "wal_level": "logical",
            "max_replication_slots": 40,
            "max_wal_senders": 40,
            "max_connections": 200,
            "fsync": "off",  # what is killed here is the process, never the machine
            "full_page_writes": "off",
            "shared_buffers": "64MB",
            "wal_sender_timeout": "10s",
            "autovacuum": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.server = Server(
            "postgres", [kit.postgres_bin / "postgres", "-D", self._data, *options], folder, user=self._account
        )
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=segstream dbname=postgres"

    def format(self) -> None:
        account = {"user": self._account, "group": self._account, "extra_groups": []} if self._account else {}
        done = subprocess.run(  # type: ignore[call-overload] # the account's keywords vary
            [
                self._kit.postgres_bin / "initdb", "-D", self._data, "-U", "segstream", "--auth=trust", "--no-sync",
                "--encoding=UTF8", "--locale=C",
            ],
            cwd=self._data.parent, capture_output=True, text=True, timeout=READY_S, check=False, **account,
        )  # fmt: skip
        if done.returncode != 0:
            raise StackError(
                f"postgres: initdb ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
            )

    def start(self) -> None:
        self.server.start()

    def wait(self) -> None:
        self.server.wait(self._answers, READY_S)

    def stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        # the fast shutdown: it does not wait for clients
        self.server.stop(sign=signal.SIGINT)

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of the caller's own, with transactions."""
        return psycopg.connect(self.dsn, connect_timeout=5)

    def sql(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Run at once, committed; the rows, if any. Several statements may stand in one text without params."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.dsn, connect_timeout=5, autocommit=True)
        cursor = self._connection.execute(statement, params)
        return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.dsn, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


def _account() -> str:
    if os.geteuid() != 0:
        return ""
    for name in ACCOUNTS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise StackError(f"postgres refuses to run as root, and none of the accounts {', '.join(ACCOUNTS)} exists")
