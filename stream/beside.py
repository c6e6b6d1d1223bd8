"""What goes on beside the walk: references and the control topic, read whole, and questions about customers and segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from stream import wiring
from stream.core.effects import Ask, Define
from stream.core.engine import Engine
from stream.core.model import LookupOutcome
from stream.core.references import Reference
from stream.edge import logs
from stream.edge.control import Controls, control_topic
from stream.edge.intake import SchemaSource
from stream.edge.metrics import Metrics
from stream.edge.references import References
from stream.edge.senders import Askers, Customers, Lease
from stream.edge.spill import Spill
from stream.settings import Settings

log: Final = logs.Log("references")


class Beside:
    """Owned by the loop, on its thread. Without references nothing is read; questions are asked by threads of their own."""

    def __init__(
        self,
        settings: Settings,
        properties: Mapping[str, Any],
        registry: SchemaSource | None,
        metrics: Metrics,
        spill: Spill,
        *,
        note: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        rules = wiring.references(settings)
        self._controls: Final = Controls(note)
        self._references: Final = (
            References(
                properties,
                str(properties["group.id"]),
                rules,
                registry,
                metrics=metrics,
                spill=spill,
                # also of a dry run: the operator speaks to the group that works
                further={control_topic(settings.group_id): self._controls},
                log=note,
                now=now,
            )
            if rules
            else None
        )
        self._asked: Askers | None = None
        self._slots: Final = settings.retail_red.lookup_slots
        self._ready = False
        self._said = ""

    @property
    def tables(self) -> dict[str, Reference]:
        """The references, by name."""
        return self._references.tables if self._references is not None else {}

    def start(self, customers: Customers, lease: Lease) -> None:
        """From now on questions are asked."""
        self._asked = Askers(customers, self._slots, lease)
        self._asked.start()

    def ask(self, effect: Ask | Define) -> None:
        """Ask this; the answer comes with a later turn."""
        if self._asked is not None:
            self._asked.send(effect.lookup if isinstance(effect, Ask) else effect.definition)

    def topics(self) -> list[str]:
        """The topics that are read whole."""
        return self._references.topics if self._references is not None else []

    def check(self, counts: Mapping[str, int], ids: Mapping[str, str]) -> None:
        """The cluster's topics, as they are now. Raises Unavailable."""
        if self._references is not None:
            self._references.check(counts, ids)

    def turn(self, engine: Engine, now_s: float, wall_ms: int, jitter: Callable[[], float]) -> None:
        """Read on and take the answers."""
        if self._references is not None:
            self._read(engine)
        for outcome in self._asked.finished() if self._asked is not None else ():
            if isinstance(outcome, LookupOutcome):
                engine.looked_up(outcome, now_s, wall_ms, jitter())
            else:
                engine.defined(outcome, now_s, jitter())

    def _read(self, engine: Engine) -> None:
        assert self._references is not None  # noqa: S101 - for the type checker: asked by the caller
        for name, keys in self._references.step():
            if name == wiring.SEGMENTS:
                engine.segments_changed(keys)
            elif self._ready:
                engine.references_changed(name, keys)
        for one in self._controls.news():
            log.info("code accepted" if one.accepted else "code not accepted any more", code=one.code)
            if one.accepted:
                engine.accept_code(one.code)
            else:
                engine.withdraw_code(one.code)
        engine.references_ready = self._references.ready
        if engine.references_ready and not self._ready:
            self._ready = True
            log.info("references read", rows={name: len(table) for name, table in self.tables.items()})

    @property
    def busy(self) -> bool:
        """Whether there is more to read already."""
        return self._references is not None and self._references.busy

    def why(self) -> str:
        """Why references are not read yet, as one line; empty when they are."""
        return self._references.why() if self._references is not None else ""

    def report(self) -> None:
        """Write the metrics. Once a second is enough."""
        if self._references is not None:
            self._references.report()

    def close(self) -> None:
        if self._asked is not None:
            self._asked.close()
        if self._references is not None:
            self._references.close()
