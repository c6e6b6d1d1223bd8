"""The port that probes and Prometheus ask."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from stream.edge import health as health_module
from stream.edge.health import Health, HealthServer
from stream.edge.metrics import Metrics
from stream.errors import Unavailable


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(30.0, clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Metrics(registry, "1.2.3").rows(5)
    with HealthServer("127.0.0.1", 0, registry, health) as server:
        yield server


@pytest.fixture
def client(server: HealthServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client


def test_alive_is_the_age_of_the_loops_beat(client: httpx.Client, health: Health, clock: Clock) -> None:
    health.beat()
    clock.now_s = 30.0
    assert client.get("/livez").json() == {"alive": True, "beat_age_s": 30.0, "limit_s": 30.0}
    clock.now_s = 30.5
    answer = client.get("/livez")
    assert (answer.status_code, answer.json()["alive"]) == (503, False)
    health.beat()
    assert client.get("/livez").status_code == 200


def test_ready_when_no_obstacle_is_left_and_alive_all_the_while(client: httpx.Client, health: Health) -> None:
    assert client.get("/readyz").json() == {"ready": False, "obstacles": {"start": "has not started yet"}}
    health.not_ready("group", "has not joined the group")
    health.ready("start")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["obstacles"]) == (503, {"group": "has not joined the group"})
    assert client.get("/livez").status_code == 200
    health.ready("group")
    health.ready("group")
    assert client.get("/readyz?verbose").json() == {"ready": True, "obstacles": {}}


def test_metrics_in_both_formats(client: httpx.Client) -> None:
    plain = client.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "segstream_rows 5.0" in plain.text
    modern = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
    assert modern.text.endswith("# EOF\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/"])
def test_nothing_can_be_changed(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path, content=b"x").status_code == 501


def test_other_paths_are_404_and_head_has_no_body(client: httpx.Client) -> None:
    assert client.get("/").status_code == 404
    assert client.get("/../etc/passwd").status_code == 404
    assert client.head("/metrics").content == b""
    assert "Python" not in client.get("/livez").headers["Server"]


def test_silent_connections_do_not_keep_probes_out(
    server: HealthServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health_module.CONNECTIONS_MAX == 16
    monkeypatch.setattr(health_module._Handler, "timeout", 0.3)
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        assert client.get("/livez", timeout=5).status_code == 200
    finally:
        for connection in held:
            connection.close()


def test_a_taken_port_is_told_in_one_line(server: HealthServer, health: Health) -> None:
    with pytest.raises(Unavailable, match=rf"cannot listen on 127.0.0.1:{server.port}: Address already in use"):
        HealthServer("127.0.0.1", server.port, CollectorRegistry(), health)


def test_close_ends_it_and_may_be_repeated(health: Health) -> None:
    server = HealthServer("127.0.0.1", 0, CollectorRegistry(), health)
    server.start()
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
