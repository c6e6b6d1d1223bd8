"""Fetches writers' schemas: by Confluent's API (ids, GUIDs) and by Apicurio's own (global and content ids)."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, urlsplit

import httpx

from stream.errors import AuthError, SettingsError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from stream.core.model import SchemaId

_BODY_BYTES_MAX: Final = 4_194_304
_REFERENCES_MAX: Final = 100
_REFERENCE_DEPTH_MAX: Final = 8
_CONFLUENT_COMPATIBLE: Final = "/apis/ccompat/"


class Registry:
    """One schema registry. Not thread-safe; keeps a connection, and no schemas (the decoders keep what they learned).

    url: of a Confluent API, of Apicurio's API (`…/apis/registry/v2` or `v3`), or of an Apicurio host (then v3 is used
    for global and content ids). timeout_s is of each request as a whole.
    Raises SettingsError for a url or a CA file that cannot be used.
    """

    def __init__(
        self, url: str, username: str | None, password: str | None, ca_file: Path | None, timeout_s: float
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("registry.url: expected http(s)://host[:port][/path]")
        if parts.username or parts.password:
            raise SettingsError("registry.url: holds credentials", advice="use registry.username and password_file")
        if parts.query or parts.fragment:
            raise SettingsError("registry.url: holds a query or a fragment")
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        try:
            verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file is not None else True
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"registry.ca_file: {ca_file}: {type(error).__name__}") from None
        self._client = httpx.Client(
            auth=httpx.BasicAuth(username, password or "") if username is not None else None,
            verify=verify,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={"Accept": "application/vnd.schemaregistry.v1+json, application/json, */*"},
        )

    def close(self) -> None:
        self._client.close()

    def fetch(self, schema_id: SchemaId) -> str | None:
        """Return the schema's text, with what it refers to put into its place; None when it certainly does not exist.

        Raises Unavailable when the registry does not answer (or not as a registry does), AuthError on 401 and 403.
        """
        kind, value = schema_id
        if kind == "guid":
            return self._confluent(f"/schemas/guids/{uuid.UUID(str(value))}")
        if kind == "id":
            return self._confluent(f"/schemas/ids/{int(value)}")
        base, v3 = self._apicurio()
        return self._apicurio_schema(base, "globalIds" if kind == "global_id" else "contentIds", int(value), v3=v3)

    # Confluent answers an object that holds the text and the references (name, subject, version).

    def _confluent(self, path: str) -> str | None:
        body = self._get(self._url + path)
        if body is None:
            return None
        return self._confluent_schema(self._object(body), depth=0, count=[0])

    def _confluent_schema(self, answer: dict[str, Any], depth: int, count: list[int]) -> str:
        schema = answer.get("schema")
        if not isinstance(schema, str):
            self._strange("no `schema` in the answer")
        parts: dict[str, str] = {}
        for reference in _list(answer.get("references")):
            self._bound(depth, count)
            name, subject = reference.get("name"), reference.get("subject")
            version = reference.get("version")
            if not (isinstance(name, str) and isinstance(subject, str) and isinstance(version, int)):
                self._strange("a reference without name, subject and version")
            url = f"{self._url}/subjects/{quote(subject, safe='')}/versions/{version}"
            body = self._get(url)
            if body is None:
                self._strange(f"the referred subject {subject[:100]!r} version {version} is not there")
            parts[name] = self._confluent_schema(self._object(body), depth + 1, count)
        return _inlined(schema, parts)

    # Apicurio: the text alone; references apart, each with the id of its content or its coordinates.

    def _apicurio(self) -> tuple[str, bool]:
        """Return the base of Apicurio's own API, and whether it is v3."""
        url = self._url
        if "/apis/registry/" in url:
            return url, url.endswith("/v3")
        return f"{url.split(_CONFLUENT_COMPATIBLE)[0]}/apis/registry/v3", True

    def _apicurio_schema(self, base: str, space: str, number: int, *, v3: bool) -> str | None:
        path = f"{base}/ids/{space}/{number}"
        body = self._get(path)
        if body is None:
            return None
        text = self._text(body)
        references = self._get(f"{path}/references")
        return self._apicurio_inlined(text, references, (base, v3), depth=0, count=[0])

    def _apicurio_inlined(
        self, text: str, references: bytes | None, api: tuple[str, bool], depth: int, count: list[int]
    ) -> str:
        base, v3 = api
        parts: dict[str, str] = {}
        for reference in _list(self._json(references)) if references else []:
            self._bound(depth, count)
            name, artifact, version = (reference.get(k) for k in ("name", "artifactId", "version"))
            if not (isinstance(name, str) and isinstance(artifact, str) and isinstance(version, (str, int))):
                self._strange("a reference without name, artifactId and version")
            group = reference.get("groupId") or "default"
            path = (
                f"{base}/groups/{quote(str(group), safe='')}/artifacts/{quote(artifact, safe='')}"
                f"/versions/{quote(str(version), safe='')}"
            )
            body = self._get(f"{path}/content" if v3 else path)
            if body is None:
                self._strange(f"the referred artifact {artifact[:100]!r} version {version} is not there")
            inner = self._get(f"{path}/references")
            parts[name] = self._apicurio_inlined(self._text(body), inner, api, depth + 1, count)
        return _inlined(text, parts)

    # One request

    def _get(self, url: str) -> bytes | None:
        """Return the body of a 200; None for a 404 that a registry answered."""
        end = time.monotonic() + self._timeout_s
        try:
            with self._client.stream("GET", url) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _BODY_BYTES_MAX:
                        self._strange(f"an answer above {_BODY_BYTES_MAX} bytes")
                    if time.monotonic() > end:
                        raise Unavailable(f"the schema registry took longer than {self._timeout_s} s")
                status, kind = answer.status_code, answer.headers.get("content-type", "")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"the schema registry does not answer: {type(error).__name__}") from None
        if status == 200:
            return bytes(body)
        if status in (401, 403):
            raise AuthError(
                f"the schema registry refuses the credentials (HTTP {status})",
                advice="check registry.username, password_file and what this user may read",
            )
        # A proxy's 404 (a wrong path, a backend that is down) is HTML; only a registry's own is certain.
        if status == 404 and "json" in kind and _says_absent(self._object(bytes(body))):
            return None
        return self._strange(f"HTTP {status}")

    def _bound(self, depth: int, count: list[int]) -> None:
        count[0] += 1
        if depth >= _REFERENCE_DEPTH_MAX or count[0] > _REFERENCES_MAX:
            self._strange("a schema with too many references")

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            self._strange("an answer that is not JSON")

    def _object(self, body: bytes) -> dict[str, Any]:
        answer = self._json(body)
        if not isinstance(answer, dict):
            self._strange("an answer that is not a JSON object")
        return answer

    def _text(self, body: bytes) -> str:
        try:
            return body.decode()
        except UnicodeDecodeError:
            self._strange("a schema that is not UTF-8")

    def _strange(self, what: str) -> NoReturn:
        raise Unavailable(f"the schema registry gave {what}", advice="check registry.url")


def _says_absent(answer: dict[str, Any]) -> bool:
    """Whether a 404's body is a registry's: Confluent's and Apicurio 2's error_code, Apicurio 3's problem details.

    A server without that route may answer error_code 404 too, but says nothing of a schema: a wrong path, not an id.
    """
    code = answer.get("error_code", answer.get("status"))
    if code in (40401, 40402, 40403):
        return True
    named = f"{answer.get('name', '')} {answer.get('message', '')} {answer.get('title', '')}".lower()
    return code == 404 and any(word in named for word in ("schema", "notfoundexception", "no artifact", "no content"))


def _list(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _inlined(text: str, parts: dict[str, str]) -> str:
    """Return the schema with each referred type in place of the first mention of its full name.

    A later mention stays a name, as Avro demands that a type is defined once. A type that several parts define is
    defined by the first and named by the others.
    """
    if not parts:
        return text
    try:
        types = {name: json.loads(part) for name, part in parts.items()}
        return json.dumps(_put(json.loads(text), "", types, set()))
    except (ValueError, RecursionError):
        return text  # not Avro's JSON: the decoder says so


def _put(schema: Any, namespace: str, types: dict[str, Any], defined: set[str]) -> Any:
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        name = full if full in types else schema
        if name in types and name not in defined:
            return _put(types[name], "", types, defined)
        return schema
    if isinstance(schema, list):
        return [_put(branch, namespace, types, defined) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in ("record", "enum", "fixed") and isinstance(schema.get("name"), str):
        name = schema["name"]
        inner = name.rpartition(".")[0] if "." in name else str(schema.get("namespace", namespace) or "")
        full = name if "." in name or not inner else f"{inner}.{name}"
        if full in defined:
            return full
        defined.add(full)
        if kind == "record" and isinstance(schema.get("fields"), list):
            fields = [
                f | {"type": _put(f.get("type"), inner, types, defined)} if isinstance(f, dict) else f
                for f in schema["fields"]
            ]
            return schema | {"namespace": inner, "fields": fields}
        return schema | {"namespace": inner}
    return schema | {k: _put(schema[k], namespace, types, defined) for k in ("type", "items", "values") if k in schema}
