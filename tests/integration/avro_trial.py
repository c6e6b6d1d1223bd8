"""A schema registry that serves two schemas, and rows written with them as Confluent's Avro converter does."""

from __future__ import annotations

import io
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import fastavro


def _record(name: str, columns: dict[str, str]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in columns.items()]}


class Avro:
    """columns: of the table, each with its type. Every column is in the key."""

    def __init__(self, columns: dict[str, str]) -> None:
        source = {"connector": "string", "ts_ms": "long", "snapshot": "string", "sequence": "string"}
        row = _record("Value", columns)
        envelope = {
            "type": "record",
            "name": "Envelope",
            "fields": [
                {"name": "before", "type": ["null", row]},
                {"name": "after", "type": ["null", "Value"]},
                {"name": "source", "type": _record("Source", source)},
                {"name": "op", "type": "string"},
                {"name": "ts_ms", "type": "long"},
            ],
        }
        schemas = {1: _record("Key", columns), 2: envelope}
        self._texts = {number: json.dumps({"schema": json.dumps(schema)}) for number, schema in schemas.items()}
        self._parsed = {number: fastavro.parse_schema(schema) for number, schema in schemas.items()}
        texts = self._texts

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = texts[int(self.path.split("?")[0].rsplit("/", 1)[1])].encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def write(self, key: dict[str, Any], value: Any) -> tuple[bytes, bytes | None]:
        return self._framed(1, key), self._framed(2, value) if value is not None else None

    def _framed(self, number: int, value: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._parsed[number], value)
        return b"\0" + struct.pack(">i", number) + out.getvalue()
