"""What each row says by what one instance was given, folded by the simulator's own and much simpler rule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stream.core.model import Membership, TopicPartition
from stream.core.rowstate import decode_row
from tests.sim.broker import Record

if TYPE_CHECKING:
    from tests.sim.play import Play


class Shadow:
    """latest: by the log's order. newest: without what the connector repeated."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.fed: list[Record] = []
        self.latest: dict[TopicPartition, dict[Any, Membership | None]] = {}
        self.newest: dict[TopicPartition, dict[Any, Membership | None]] = {}
        self._ahead: dict[TopicPartition, dict[Any, int]] = {}

    def restored(self, tp: TopicPartition, rows: dict[bytes, bytes], position: int) -> None:
        latest: dict[Any, Membership | None] = {}
        ahead: dict[Any, int] = {}
        for key, data in rows.items():
            state = decode_row(data)
            row = self.play.names[tp.topic, key]
            latest[row] = (state.segment, state.member) if state.segment and state.member else None
            ahead[row] = state.offset
        self.latest[tp] = latest
        self.newest[tp] = newest = {}
        for record in self.play.broker.logs[tp].history:
            if record.row is not None and (record.offset < position or record.offset <= ahead.get(record.row, -1)):
                self._newer(newest, record)
        self._ahead[tp] = ahead

    def feed(self, tp: TopicPartition, records: list[Record]) -> None:
        self.fed = records
        latest, newest, ahead = self.latest[tp], self.newest[tp], self._ahead[tp]
        for record in records:
            if record.row is None or record.offset <= ahead.get(record.row, -1):
                continue
            latest[record.row] = record.says if isinstance(record.says, tuple) else None
            self._newer(newest, record)

    @staticmethod
    def _newer(newest: dict[Any, Membership | None], record: Record) -> None:
        if not record.repeat:
            newest[record.row] = record.says if isinstance(record.says, tuple) else None

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        for tp in tps:
            for kept in (self.latest, self.newest, self._ahead):
                kept.pop(tp, None)  # type: ignore[attr-defined]

    def said(self, membership: Membership, *, newest: bool = False) -> bool:
        rows = self.newest if newest else self.latest
        return any(membership in said.values() for said in rows.values())
