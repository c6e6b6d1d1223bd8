"""What a sandbox is started with. What may change while it runs is in faults.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - the published default of a simulator that guards nothing
USERNAME = "sandbox@example.com"
PASSWORD = "sandbox-password"  # noqa: S105 - as above


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Port 0 picks a free one. `faults` are first values of what faults.py names."""

    host: str = "127.0.0.1"
    port: int = 0
    merchant: str = "10006"
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    username: str = USERNAME
    password: str = PASSWORD
    segments: tuple[str, ...] = ()
    create_segments: bool = False  # an unknown code in a member route creates its segment, for trials without set-up
    load: Path | None = None
    save: Path | None = None
    seed: int = 1
    faults: dict[str, object] = field(default_factory=dict)
    history_rows_max: int = 300_000  # rows that the histories of all memberships remember together
    connections_max: int = 1_000
    buffer_bytes_max: int = 8_388_608  # a request larger than this is cut off, whatever the 413 limit says
    idle_s: float = 75.0  # an idle connection is closed after this
