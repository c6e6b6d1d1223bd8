import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fastavro
import pytest

from stream.core.model import SchemaId
from stream.edge.registry import Registry
from stream.errors import AuthError, SettingsError, Unavailable

GUID = "0f4e5c1a-9d7b-4c55-a0b1-8d1f63f9a111"
NOT_FOUND = (404, {"error_code": 40403, "message": "Schema 7 not found"})


class Served:
    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.headers: dict[str, str] = {}
        self.url = ""


@contextmanager
def serving() -> Iterator[Served]:
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Authorization")))
            status, body = served.answers.get(self.path, (404, "<html>no such page</html>"))
            text = body if isinstance(body, (str, bytes)) else json.dumps(body)
            data = text if isinstance(text, bytes) else text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(body, (str, bytes)) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up early is what some tests want
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@contextmanager
def registry(served: Served, path: str = "", **more: object) -> Iterator[Registry]:
    made = Registry(served.url + path, more.get("user"), more.get("password"), None, more.get("timeout_s", 2.0))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def test_confluent_by_id_and_by_guid_with_credentials(served: Served) -> None:
    served.answers["/apis/ccompat/v7/schemas/ids/7"] = (200, {"schema": '"long"'})
    served.answers[f"/apis/ccompat/v7/schemas/guids/{GUID}"] = (200, {"schema": '"string"'})
    with registry(served, "/apis/ccompat/v7/", user="u", password="p:w") as it:  # noqa: S106 - of a server of this test
        assert it.fetch(SchemaId("id", 7)) == '"long"'
        assert it.fetch(SchemaId("guid", GUID)) == '"string"'
    assert {auth for _, auth in served.asked} == {"Basic " + base64.b64encode(b"u:p:w").decode()}


def test_a_schema_that_is_not_there_is_none_and_a_wrong_path_is_not(served: Served) -> None:
    served.answers["/schemas/ids/7"] = NOT_FOUND
    served.answers["/schemas/ids/8"] = (404, {"error_code": 404, "message": "HTTP 404 Not Found"})
    with registry(served) as it:
        assert it.fetch(SchemaId("id", 7)) is None
        for absent in (8, 9):
            with pytest.raises(Unavailable, match="HTTP 404"):
                it.fetch(SchemaId("id", absent))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials(served: Served, status: int) -> None:
    served.answers["/schemas/ids/7"] = (status, {"error_code": status, "message": "no"})
    with registry(served, user="u", password="secret-word") as it, pytest.raises(AuthError) as caught:  # noqa: S106 - as above
        it.fetch(SchemaId("id", 7))
    assert "secret-word" not in f"{caught.value}{caught.value.advice}"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 302, 204])
def test_other_answers_are_no_answers(served: Served, status: int) -> None:
    served.answers["/schemas/ids/7"] = (status, b"" if status == 204 else {"message": "later"})
    served.headers["Location"] = served.url + "/elsewhere"
    with registry(served) as it, pytest.raises(Unavailable):
        it.fetch(SchemaId("id", 7))
    assert [path for path, _ in served.asked] == ["/schemas/ids/7"]  # not followed


@pytest.mark.parametrize("body", [b"not json", [], {"schema": 5}, b'{"schema": "' + b"x" * 5_000_000 + b'"}'])
def test_an_odd_or_huge_200_is_no_answer(served: Served, body: object) -> None:
    served.answers["/schemas/ids/7"] = (200, body)
    with registry(served) as it, pytest.raises(Unavailable):
        it.fetch(SchemaId("id", 7))


def test_a_registry_that_is_down() -> None:
    with serving() as gone:
        pass
    with registry(gone) as it, pytest.raises(Unavailable, match="does not answer"):
        it.fetch(SchemaId("id", 7))


def test_a_proxy_of_the_environment_is_not_used(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    served.answers["/schemas/ids/7"] = (200, {"schema": '"long"'})
    with registry(served) as it:
        assert it.fetch(SchemaId("id", 7)) == '"long"'


OUTER = {
    "type": "record",
    "name": "Envelope",
    "namespace": "shop",
    "fields": [{"name": "before", "type": ["null", "shop.Value"]}, {"name": "after", "type": ["null", "Value"]}],
}
VALUE = {"type": "record", "name": "Value", "namespace": "shop", "fields": [{"name": "x", "type": "shop.Inner"}]}
INNER = {"type": "record", "name": "Inner", "namespace": "shop", "fields": [{"name": "n", "type": "long"}]}


def reads(text: str | None) -> bool:
    """Whether the schema stands alone: it reads what the nested one means."""
    assert text is not None
    parsed = fastavro.parse_schema(json.loads(text))
    import io  # noqa: PLC0415 - only here

    read = fastavro.schemaless_reader(io.BytesIO(bytes([0, 2, 10])), parsed, None)
    return read == {"before": None, "after": {"x": {"n": 5}}}


def test_confluent_references_are_resolved_each_type_once(served: Served) -> None:
    def ref(name: str, subject: str) -> dict[str, object]:
        return {"name": name, "subject": subject, "version": 3}

    served.answers["/schemas/ids/7"] = (
        200,
        {"schema": json.dumps(OUTER), "references": [ref("shop.Value", "value s"), ref("shop.Inner", "inner")]},
    )
    served.answers["/subjects/value%20s/versions/3"] = (
        200,
        {"schema": json.dumps(VALUE), "references": [ref("shop.Inner", "inner")]},
    )
    served.answers["/subjects/inner/versions/3"] = (200, {"schema": json.dumps(INNER)})
    with registry(served) as it:
        assert reads(it.fetch(SchemaId("id", 7)))


def test_references_in_a_circle_end(served: Served) -> None:
    circle = {"schema": '"x"', "references": [{"name": "x", "subject": "s", "version": 1}]}
    served.answers["/schemas/ids/7"] = served.answers["/subjects/s/versions/1"] = (200, circle)
    with registry(served) as it, pytest.raises(Unavailable, match="too many references"):
        it.fetch(SchemaId("id", 7))
    assert len(served.asked) < 20


@pytest.mark.parametrize(
    ("path", "version"),
    [("", "v3"), ("/apis/registry/v3", "v3"), ("/apis/registry/v2", "v2"), ("/apis/ccompat/v7", "v3")],
)
@pytest.mark.parametrize(("kind", "space"), [("global_id", "globalIds"), ("content_id", "contentIds")])
def test_apicurio(served: Served, path: str, version: str, kind: str, space: str) -> None:
    base = f"/apis/registry/{version}"
    tail = "/content" if version == "v3" else ""
    of_value, of_inner = (f"{base}/groups/{g}/artifacts/{a}/versions/1" for g, a in (("default", "v"), ("g", "i")))
    served.answers |= {
        f"{base}/ids/{space}/7": (200, OUTER),
        f"{base}/ids/{space}/7/references": (200, [{"name": "shop.Value", "artifactId": "v", "version": "1"}]),
        f"{of_value}{tail}": (200, VALUE),
        f"{of_value}/references": (
            200,
            [{"name": "shop.Inner", "groupId": "g", "artifactId": "i", "version": "1"}],
        ),
        f"{of_inner}{tail}": (200, INNER),
        f"{of_inner}/references": (200, []),
        f"{base}/ids/{space}/8": (
            404,
            {"error_code": 404, "name": "ContentNotFoundException", "message": "No content"},
        ),
    }
    with registry(served, path) as it:
        assert reads(it.fetch(SchemaId(kind, 7)))  # type: ignore[arg-type]
        assert it.fetch(SchemaId(kind, 8)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@x", "http://x/?a=b"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Registry(url, None, None, None, 1)


def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ca_file"):
        Registry("https://x", None, None, tmp_path / "none.pem", 1)
