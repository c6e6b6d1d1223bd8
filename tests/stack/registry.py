"""The schema registry (Apicurio, its schemas in a file) through its Confluent-compatible API."""
# ruff: noqa: S310 - the URLs are its own servers

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from stack.kit import Kit
from stack.process import Server, free_ports

READY_S = 90


class Registry:
    """Keeps its port and its schemas over stop, kill and start."""

    def __init__(self, kit: Kit, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port, management = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self.server = Server(
            "registry",
            [
                kit.java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1",
                f"-Dquarkus.management.port={management}", "-Dquarkus.management.host=127.0.0.1",
                f"-Dapicurio.datasource.url=jdbc:h2:file:{folder / 'schemas'}",
                "-jar", kit.registry / "quarkus-run.jar",
            ],
            folder,
        )  # fmt: skip

    def start(self) -> None:
        self.server.start()

    def wait(self) -> None:
        self.server.wait(self._answers, READY_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
