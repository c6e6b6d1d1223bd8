"""Calls and reads of the retail.red client, against a server that answers what a test scripts."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable

import pytest
from api_trial import PASSWORD, SECRET, Answer, Raw, Request, Script, Server, World, answer, granted, hang, routes
from hypothesis import given
from hypothesis import strategies as st

from stream.core.model import Call, Op
from stream.edge.wire import members_body
from stream.errors import AuthError, DataError, SettingsError, Unavailable

MEMBERS_PATH = "/v1/merchants/10006/segments/vip/members"


def call(op: Op = "add", segment: str = "vip", members: tuple[str, ...] = ("c-1", "c-2")) -> Call:
    return Call(1, op, segment, members)


def test_an_add_is_a_post_with_the_wrapped_members(world: World) -> None:
    outcome = world.client(routes(answer(201))).send(call())
    assert (outcome.kind, outcome.status, outcome.errors) == ("answered", 201, ())
    request = world.server.requests[-1]
    assert (request.method, request.target) == ("POST", MEMBERS_PATH)
    assert json.loads(request.body) == {"members": [{"id": i, "type": "customer"} for i in ("c-1", "c-2")]}
    assert request.headers["authorization"] == "Bearer token-1"
    assert world.observed == [("token", "200"), ("add", "201")]


@pytest.mark.parametrize(("background", "query"), [(None, ""), (False, "?runInBackground=false")])
def test_a_removal_is_a_delete_with_a_body(world: World, background: object, query: str) -> None:
    outcome = world.client(routes(answer(202)), run_in_background=background).send(call("remove"))
    assert outcome.status == 202
    request = world.server.requests[-1]
    assert (request.method, request.target) == ("DELETE", MEMBERS_PATH + query)
    assert json.loads(request.body)["members"][1] == {"id": "c-2", "type": "customer"}


CODES = ["a#b", "..", ".", "a/b", "%2e%2e", "", "a?b", "a b", "a\n", "ä", "../../x", "a%2fb", ";", "x" * 129]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("op", ["add", "remove"])
def test_a_code_that_could_change_the_path_never_reaches_one(world: World, code: str, op: Op) -> None:
    client = world.client(routes(answer(201)))
    with pytest.raises(ValueError, match="refused"):
        client.send(call(op, code))
    with pytest.raises(ValueError, match="refused"):
        client.get_segment(code)
    assert world.server.requests == []


@pytest.mark.parametrize("members", [("*",), ("a", "*"), ("",), ("  ",), (), ("a", 5), ({"$ne": 1},), ("\ud800",)])
def test_ids_that_must_never_be_sent(world: World, members: tuple[str, ...]) -> None:
    client = world.client(routes(answer(201)))
    with pytest.raises(ValueError):  # noqa: PT011 - one of them is refused by the encoder
        client.send(call("remove", members=members))
    assert world.server.requests == []


@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip() and "*" not in text), min_size=1, max_size=6))
def test_the_body_is_the_json_it_stands_for(ids: list[str]) -> None:
    assert json.loads(members_body(tuple(ids))) == {"members": [{"id": i, "type": "customer"} for i in ids]}


@pytest.mark.parametrize("ids", [(",", ","), ('","',), ('"', ",", '"'), ("\\", ","), ('a\\","',)])
def test_ids_that_look_like_joints(ids: tuple[str, ...]) -> None:
    assert json.loads(members_body(ids)) == {"members": [{"id": i, "type": "customer"} for i in ids]}


# ---- how calls fail ----------------------------------------------------------------------------------------------


def test_a_refused_connection_is_certainly_not_sent(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = world.client(routes(answer(201)), segmentation_url=url)
    outcome = client.send(call())
    assert (outcome.kind, outcome.code, outcome.status) == ("refused", "connect", 0)


def test_a_failed_tls_handshake_is_certainly_not_sent(world: World) -> None:
    plain = Server(lambda _: Raw(b"no TLS here"))
    world.servers.append(plain)
    client = world.client(routes(answer(201)), segmentation_url=plain.url.replace("http:", "https:"), api_timeout_s=2.0)
    outcome = client.send(call())
    assert outcome.kind == "refused"
    assert plain.requests == []


def dribble(connection: socket.socket) -> None:
    """Send headers byte by byte, so that no single read takes long."""
    for byte in b"HTTP/1.1 201 Created\r\nx-slow: " + b"x" * 200:
        connection.send(bytes([byte]))
        time.sleep(0.05)


def dribble_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 201 Created\r\ncontent-length: 500\r\n\r\n")
    for _ in range(200):
        connection.send(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("how", [hang, dribble, dribble_body])
def test_the_deadline_holds_for_the_whole_call(world: World, how: Callable[[socket.socket], None]) -> None:
    client = world.client(routes([answer(201), how]), api_timeout_s=0.6)
    client.send(call())
    begun_s = time.monotonic()
    outcome = client.send(call())
    assert outcome.kind == "unknown"
    assert time.monotonic() - begun_s < 1.2
    assert outcome.code in {"timeout", "unreadable"}


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 20", b"HTTP/1.1 201 X\r\ncontent-length: 9\r\n\r\n{", b"nonsense\r\n\r\n"]
)
def test_a_dropped_connection_is_unknown(world: World, raw: bytes) -> None:
    outcome = world.client(routes(Raw(raw))).send(call())
    assert (outcome.kind, outcome.status) == ("unknown", 0)
    assert outcome.code in {"dropped", "unreadable"}


def test_a_broken_body_of_an_error_is_still_an_answer(world: World) -> None:
    outcome = world.client(routes(Raw(b"HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\n{"))).send(call())
    assert (outcome.kind, outcome.status) == ("answered", 503)


def test_an_answer_without_end_is_cut(world: World) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 201 X\r\ntransfer-encoding: chunked\r\n\r\n")
        while not world.server.stopping.is_set():
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")

    outcome = world.client(routes(flood)).send(call())
    assert (outcome.kind, outcome.code) == ("unknown", "unreadable")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(world: World, status: int) -> None:
    elsewhere = Server(routes(answer(201)))
    world.servers.append(elsewhere)
    client = world.client(routes(answer(status, None, f"location: {elsewhere.url}{MEMBERS_PATH}")))
    assert client.send(call()).status == status
    assert elsewhere.requests == []


def test_proxies_of_the_environment_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert world.client(routes(answer(201))).send(call()).status == 201


def test_the_lease_is_asked_right_before_the_first_byte(world: World) -> None:
    """Here it ends while the token is fetched; the call itself is never written."""
    client = world.client(routes(answer(201)), lease=lambda: not world.server.of("/oauth"))
    outcome = client.send(call())
    assert (outcome.kind, outcome.code) == ("unsent", "lease")
    assert world.server.of("/v1") == []


def test_after_close_nothing_is_sent(world: World) -> None:
    client = world.client(routes(answer(201)))
    client.close()
    outcome = client.send(call())
    assert (outcome.kind, outcome.code) == ("unsent", "closed")


# ---- what answers say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "seen"),
    [
        ([{"code": 409, "entityIndex": 0, "entityId": "c-1", "reason": "there"}], [("409", 0, "c-1", "there")]),
        ([{"code": "400", "entityIndex": "1", "message": "bad"}], [("400", 1, None, "bad")]),
        ([{"entityIndex": -1, "entityId": ""}], [(None, None, None, "")]),
        ([{"code": True, "entityIndex": True}, "odd"], [(None, None, None, ""), (None, None, None, "odd")]),
        ({"code": 500}, [("500", None, None, "")]),
        ("broken", [(None, None, None, "broken")]),
        ([], []),
        (None, []),
    ],
)
def test_item_errors_are_read_leniently(world: World, errors: object, seen: list[object]) -> None:
    outcome = world.client(routes(answer(201, {"errors": errors}))).send(call())
    assert [(e.code, e.index, e.entity_id, e.message) for e in outcome.errors] == seen


@pytest.mark.parametrize(
    ("value", "code", "message"),
    [
        ({"code": "NotFound", "message": "no such segment"}, "NotFound", "no such segment"),
        ({"error": {"code": "SCHEMA_VALIDATION_FAILED", "message": "m"}}, "SCHEMA_VALIDATION_FAILED", "m"),
        ({"errors": [{"field": "id", "code": "x", "message": "bad"}]}, "x", "bad"),
        ([1], "", ""),
    ],
)
def test_hard_errors(world: World, value: object, code: str, message: str) -> None:
    outcome = world.client(routes(answer(400, value))).send(call())
    assert (outcome.status, outcome.code, outcome.message) == (400, code, message)


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"", "answered", ""),
        (b"OK", "answered", "not_json"),
        (b'{"errors":[{"code":400', "unknown", "unreadable"),
        (b"[" * 100_000, "unknown", "unreadable"),
    ],
)
def test_bodies_that_are_no_json(world: World, body: bytes, kind: str, code: str) -> None:
    outcome = world.client(routes(answer(201, body=body))).send(call())
    assert (outcome.kind, outcome.code) == (kind, code)


def test_errors_in_a_compressed_body_are_not_overlooked(world: World) -> None:
    import gzip  # noqa: PLC0415 - of this test alone

    packed = gzip.compress(b'{"errors":[{"code":404,"entityIndex":1}]}')
    client = world.client(
        routes(
            [
                answer(201, None, "content-encoding: gzip", body=packed),
                answer(201, None, "content-encoding: br", body=b"x"),
            ]
        )
    )
    assert client.send(call()).errors[0].index == 1
    assert client.send(call()).kind == "unknown"


@pytest.mark.parametrize(
    ("value", "after_s"),
    [("7", 7.0), ("0.5", 0.5), ("soon", None), ("-4", None), ("nan", None), ("9" * 40, None)],
)
def test_retry_after_in_seconds(world: World, value: str, after_s: float | None) -> None:
    assert world.client(routes(answer(429, None, f"retry-after: {value}"))).send(call()).retry_after_s == after_s


def test_retry_after_as_a_date_is_measured_by_the_answers_clock(world: World) -> None:
    dates = "date: Wed, 21 Oct 2015 07:28:00 GMT", "retry-after: Wed, 21 Oct 2015 07:29:30 GMT"
    assert world.client(routes(answer(503, None, *dates))).send(call()).retry_after_s == 90.0


# ---- the token ---------------------------------------------------------------------------------------------------


def test_eight_threads_fetch_one_token(world: World) -> None:
    def slow(request: Request) -> Answer:
        if request.target != "/oauth/token":
            return answer(201)
        time.sleep(0.2)
        return granted("token-1")

    client = world.client(slow)
    at_once(8, lambda: client.send(call()))
    assert len(world.server.of("/oauth")) == 1
    assert len(world.server.of("/v1")) == 8
    assert abs(client.token_expires_at - time.time() - 3600) < 5


def at_once(count: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)


def test_a_refused_token_is_renewed_once_and_the_call_repeated(world: World) -> None:
    def script(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted(f"token-{len(world.server.of('/oauth'))}")
        return answer(201 if request.headers["authorization"] == "Bearer token-2" else 401)

    client = world.client(script)
    at_once(8, lambda: client.send(call()))
    assert len(world.server.of("/oauth")) == 2
    assert client.send(call()).status == 201


def test_a_401_that_stays_is_an_answer(world: World) -> None:
    client = world.client(routes(answer(401, {"code": "Unauthorized"})))
    assert client.send(call()).status == 401
    assert len(world.server.of("/v1")) == 2
    assert world.observed.count(("add", "401")) == 2


def test_secrets_are_read_again_at_each_fetch(world: World) -> None:
    def script(request: Request) -> Answer:
        if request.target == "/oauth/token":
            return granted("token")
        return answer(401)

    client = world.client(script)
    client.send(call())
    (world.folder / "secret").write_text("rotated")
    client.send(call())
    basics = [request.headers["authorization"] for request in world.server.of("/oauth")]
    assert basics[0] != basics[-1]


def test_the_password_grant_and_its_refresh(world: World) -> None:
    tokens: list[Answer] = [granted("t1", expires_in=0.4, refresh_token="r+1"), granted("t2", expires_in=3600)]  # noqa: S106 - made up
    client = world.client(routes(answer(201), token=tokens), grant="password")
    client.send(call())
    time.sleep(0.45)
    client.send(call())
    first, second = (request.body.decode() for request in world.server.of("/oauth"))
    assert first == (
        f"grant_type=password&username=user%40shop.example&password={PASSWORD}&tenantType=merchant&tenantId=10006"
    )
    assert second == "grant_type=refresh_token&refresh_token=r%2B1&tenantType=merchant&tenantId=10006"


def test_a_refused_refresh_token_falls_back_to_the_password(world: World) -> None:
    tokens: list[Answer] = [granted("t1", expires_in=0.3, refresh_token="r1"), answer(400), granted("t2")]  # noqa: S106 - made up
    client = world.client(routes(answer(201), token=tokens), grant="password")
    client.send(call())
    time.sleep(0.35)
    assert client.send(call()).status == 201
    assert [r.body.partition(b"&")[0] for r in world.server.of("/oauth")[1:]] == [
        b"grant_type=refresh_token",
        b"grant_type=password",
    ]


def test_a_token_is_renewed_early_and_a_failure_of_that_does_no_harm(world: World) -> None:
    tokens: list[Answer] = [granted("t1", expires_in=1.0), answer(503)]
    client = world.client(routes(answer(201), token=tokens))
    client.send(call())
    time.sleep(0.82)
    assert client.send(call()).status == 201
    assert len(world.server.of("/oauth")) == 2


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (answer(401, {"error": "invalid_client"}), "credentials"),
        (answer(400, {"error": "invalid_grant"}), "credentials"),
        (answer(503), "token"),
        (answer(200, {"token": "x"}), "token"),
        (answer(200, {"access_token": "a\r\nx: y"}), "token"),
        (answer(200, body=b"<html>"), "token"),
        (Raw(b""), "token"),
    ],
)
def test_without_a_token_nothing_is_sent(world: World, token: Answer, code: str) -> None:
    client = world.client(routes(answer(201), token=token))
    at_once(4, lambda: client.send(call()))
    outcome = client.send(call())
    assert (outcome.kind, outcome.code) == ("unsent", code)
    assert world.server.of("/v1") == []
    assert len(world.server.of("/oauth")) == 1, "a failure answers everybody for a second"


def test_the_token_services_retry_after_reaches_the_outcome(world: World) -> None:
    client = world.client(routes(answer(201), token=answer(429, None, "retry-after: 30")))
    assert client.send(call()).retry_after_s == 30.0


def test_a_secret_file_that_is_not_there(world: World) -> None:
    client = world.client(routes(answer(201)))
    (world.folder / "secret").unlink()
    outcome = client.send(call())
    assert outcome.code == "credentials"
    assert "client_secret_file" in outcome.message


def test_no_secret_and_no_identity_in_errors_or_logs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    person = "d162439c-aaaa-bbbb-cccc-0123456789ab"
    echo = {"error": SECRET, "message": f"{SECRET} {PASSWORD} token-1 max@example.com ({person})"}
    texts: list[str] = []
    for members, token in [(answer(400, echo), None), (answer(201), answer(401, echo)), (hang, None), (Raw(b""), None)]:
        client = world.client(routes(members, token), grant="password", api_timeout_s=0.5)
        outcome = client.send(call(members=(person,)))
        texts += [outcome.message, outcome.code]
        with pytest.raises((AuthError, Unavailable, DataError)) as caught:
            client.ping(attempts=1)
        texts += [str(caught.value), repr(caught.value), caught.value.advice]
    for canary in (PASSWORD, SECRET, "max@example.com", person, "token-1"):
        assert canary not in "\n".join(texts)
        assert canary not in caplog.text


# ---- reads -------------------------------------------------------------------------------------------------------


def test_ping(world: World) -> None:
    world.client(routes(answer(200, {"segments": []}))).ping()
    assert world.server.requests[-1].target == "/v1/merchants/10006/segments?limit=1"
    with pytest.raises(AuthError, match="403"):
        world.client(routes(answer(403))).ping()
    with pytest.raises(AuthError, match="invalid_client"):
        world.client(routes(answer(200), token=answer(401, {"error": "invalid_client"}))).ping()


def test_a_read_waits_for_trouble_that_passes(world: World) -> None:
    client = world.client(
        routes([answer(503), answer(200, {"segment": {"code": "vip", "name": "VIP", "memberCount": 3}})])
    )
    assert client.get_segment("vip") == ("vip", "VIP", "", "", 3, "")
    assert world.client(routes(answer(404))).get_segment("vip") is None


def paged(pages: list[dict[str, object]]) -> Script:
    return routes([answer(200, page) for page in pages])


def page(*ids: str, **meta: object) -> dict[str, object]:
    return {"meta": meta, "members": [{"id": i, "type": "customer"} for i in ids]}


@pytest.mark.parametrize("key", ["cursors", "cursor"])
def test_members_by_cursor(world: World, key: str) -> None:
    script = paged([page("a", "b", **{key: {"after": "eA=="}}), page("c", **{key: {"after": None}})])
    assert list(world.client(script).members("vip")) == ["a", "b", "c"]
    assert [r.target.partition("?")[2] for r in world.server.of("/v1")] == ["limit=500", "limit=500&after=eA%3D%3D"]


@pytest.mark.parametrize("meta", [{"totalItemCount": 3}, {"limit": 2}, {}])
def test_members_by_offset(world: World, meta: dict[str, object]) -> None:
    script = paged([page("a", "b", **meta), page("c", **meta), page()])
    assert list(world.client(script, page_limit=2).members("vip")) == ["a", "b", "c"]
    assert [r.target.partition("?")[2] for r in world.server.of("/v1")] == ["limit=2", "limit=2&offset=2"]


def test_devices_are_no_members(world: World) -> None:
    both = {"meta": {"totalItemCount": 2}, "members": [{"id": "d", "type": "device"}, {"id": "a", "type": "customer"}]}
    assert list(world.client(paged([both])).members("vip")) == ["a"]


@pytest.mark.parametrize(
    "pages",
    [
        [page("a", "b", totalItemCount=4)],
        [page("a", cursors={"after": "x"})],
        [{"meta": {}}],
        [{"members": [{"type": "customer"}]}],
    ],
)
def test_paging_that_makes_no_sense_ends(world: World, pages: list[dict[str, object]]) -> None:
    with pytest.raises(DataError):
        list(world.client(paged(pages), page_limit=2).members("vip"))


def test_members_of_no_segment(world: World) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(world.client(routes(answer(404))).members("vip"))


def segments(*codes: str, **meta: object) -> dict[str, object]:
    return {"meta": meta, "segments": [{"code": code, "type": "fixed", "memberCount": 1} for code in codes]}


@pytest.mark.parametrize("meta", [{"totalItemCount": 3}, {"limit": 2}, {}])
def test_segments_by_offset(world: World, meta: dict[str, object]) -> None:
    script = paged([segments("a", "b", **meta), segments("c", **meta), segments()])
    assert [one.code for one in world.client(script, page_limit=2).segments()] == ["a", "b", "c"]
    assert [r.target for r in world.server.of("/v1")] == [
        "/v1/merchants/10006/segments?limit=2",
        "/v1/merchants/10006/segments?limit=2&offset=2",
    ]


def test_segments_by_cursor(world: World) -> None:
    script = paged([segments("a", cursors={"after": "x"}), segments("b", cursors={"after": None})])
    assert [one.code for one in world.client(script).segments()] == ["a", "b"]


def test_a_segment_in_a_list_is_read_leniently(world: World) -> None:
    odd = {"segments": [{"code": "a", "memberCount": True, "name": 7, "more": []}, {"code": "b", "memberCount": "3"}]}
    assert list(world.client(paged([odd])).segments()) == [("a", "", "", "", None, ""), ("b", "", "", "", None, "")]


@pytest.mark.parametrize("pages", [[{"meta": {}}], [{"segments": [{"name": "x"}]}], [{"segments": ["x"]}]])
def test_a_list_of_segments_that_makes_no_sense_ends(world: World, pages: list[dict[str, object]]) -> None:
    with pytest.raises(DataError, match="the segments: "):
        list(world.client(paged(pages)).segments())


def test_a_merchant_without_a_segments_route(world: World) -> None:
    with pytest.raises(DataError, match="no merchant 10006"):
        list(world.client(routes(answer(404))).segments())


# ---- where it may go ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example",
        "http://127.evil.example",
        "ftp://127.0.0.1",
        "https://user:pw@shop.example",
        "https://shop.example/?a=1",
        "https://shop.example/#x",
        "https://",
        "https://shop.example:99999",
        "https://shöp.example",
    ],
)
def test_urls_that_are_refused(world: World, url: str) -> None:
    with pytest.raises(SettingsError, match="segmentation"):
        world.client("http://127.0.0.1:9", segmentation_url=url)


@pytest.mark.parametrize("url", ["https://a.example/x/../y", "https://a.example/%2e%2e", "https://a.example//x"])
def test_base_paths_that_are_refused(world: World, url: str) -> None:
    with pytest.raises(SettingsError):
        world.client("http://127.0.0.1:9", segmentation_url=url)


def test_http_can_be_allowed_and_a_base_path_is_kept(world: World) -> None:
    world.client("http://sandbox.example", allow_http=True)
    client = world.client(routes(answer(201)))
    below = world.client(world.server.url, segmentation_url=world.server.url + "/gateway/")
    assert (client.send(call()).status, below.send(call()).status) == (201, 201)
    assert world.server.requests[-1].target == "/gateway" + MEMBERS_PATH
