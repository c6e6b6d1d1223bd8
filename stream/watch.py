"""What changes seldom: which topics there are, with how many partitions, and whether they are still the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from stream import wiring
from stream.beside import Beside
from stream.core.engine import Engine
from stream.edge import logs
from stream.edge.kafka import Source
from stream.edge.state import Topics
from stream.edge.takeover import ANEW, RAISED
from stream.errors import Unavailable
from stream.settings import Settings

INTERVAL_S: Final = 30.0
TIMEOUT_S: Final = 5.0
"""Polling stands still while topics are asked for."""
BROKERS_GONE_S: Final = 120.0
"""Without any broker for so long, ending says more than waiting does."""

log: Final = logs.Log("topics")


class Watch:
    """Looks at the cluster's topics now and then, and tells the engine and the references."""

    def __init__(
        self, settings: Settings, tables: wiring.Tables, source: Source, topics: Topics, engine: Engine, beside: Beside
    ) -> None:
        self._settings: Final = settings
        self._tables: Final = tables
        self._source: Final = source
        self._topics: Final = topics
        self._engine: Final = engine
        self._beside: Final = beside
        self._counts: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self.looked_s = float("-inf")
        self._contact_s = time.monotonic()
        self._missing: list[str] = []

    def look(self, now_s: float) -> None:
        """New topics of a pattern, raised partition counts, recreated topics. Raises Unavailable."""
        self.looked_s = now_s
        everything = self._source.partition_counts(TIMEOUT_S)
        self._contact_s = now_s
        self._say_missing(everything)
        counts = self._tables.consumed(everything)
        ids = self._topics.ids(list(dict.fromkeys([*counts, *(t for t in self._beside.topics() if t in everything)])))
        for topic, count in counts.items():
            before = self._counts.get(topic, count)
            if count != before:
                # also where one instance has them all: a row is looked for in the partition of its event
                self._engine.halt(topic, f"it {RAISED.format(before, count)}; {ANEW}")
            if self._ids.get(topic) and ids.get(topic) and self._ids[topic] != ids[topic]:
                self._engine.halt(
                    topic, "it was recreated: its row state and offsets belong to its predecessor; delete both"
                )
            self._engine.partitions_known(topic, count)
        self._beside.check(everything, ids)
        self._counts = {**self._counts, **counts}
        self._ids = {**ids, **self._ids}

    def look_again(self, now_s: float) -> None:
        """As above, when it is time: brokers may be away for a while. Raises Unavailable when they are gone for long."""
        if now_s - self.looked_s <= INTERVAL_S:
            return
        try:
            self.look(now_s)
        except Unavailable as error:
            if now_s - self._contact_s > BROKERS_GONE_S:
                raise
            log.warning("the brokers do not answer", detail=str(error))

    def _say_missing(self, counts: Mapping[str, int]) -> None:
        """A topic that is not there may be made later by its connector: that is waited for, and said."""
        missing = [name for name in self._tables.subscriptions if not name.startswith("^") and name not in counts]
        if missing != self._missing:
            self._missing = missing
            for name in missing:
                near = get_close_matches(name, list(counts), n=3)
                log.warning("topic does not exist, or may not be described: waiting for it", topic=name,
                            **({"there_are": near} if near else {}))  # fmt: skip

    def ensure_letters(self) -> None:
        """Letters hold offsets until they are acknowledged: their topic must be there before the first one."""
        name, counts = self._settings.letters_topic, self._source.partition_counts()
        if name not in counts:
            self._topics.ensure(name, 1, counts)
        elif "compact" not in (policy := self._topics.policy(name)) and policy:
            log.warning("the topic of letters is not compacted: a letter is gone after its retention", topic=name,
                        policy=policy)  # fmt: skip
