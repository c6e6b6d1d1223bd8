"""The play between start and comparison: changes come, faults come and go, the consumer is killed, all is shown."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from rich.console import Console
from rich.live import Live

from stream.demo.figures import Figures, Readings, fault_counts
from stream.demo.keys import Keys
from stream.demo.processes import LATE_S, SESSION_S, Consumer, Sandbox
from stream.demo.view import line, render
from stream.errors import Unavailable

LOOK_S: Final = 0.5
LINE_S: Final = 3.0
WATCH_S: Final = 2.0
CALM: Final[dict[str, Any]] = {"throttle_share": 0.0, "error_share": 0.01, "row_error_share": 0.002, "slow_share": 0.0}
INJECTED: Final[dict[str, tuple[str, str, float]]] = {
    # key: name, the sandbox's fault, its share while it is on
    "1": ("429", "throttle_share", 0.2),
    "2": ("5xx", "error_share", 0.3),
    "3": ("row errors", "row_error_share", 0.1),
    "4": ("slow", "slow_share", 0.3),
}
# what happens by itself, at these shares of the duration
PROGRAMME: Final = ((0.27, "1"), (0.37, "1"), (0.42, "k"), (0.86, "2"), (0.93, "2"))


class Source(Protocol):
    """Whose changes are followed."""

    @property
    def changes(self) -> int: ...
    def act(self) -> None:
        """One change."""

    def flush(self) -> None: ...
    def truth(self) -> dict[str, set[str]]: ...
    def summary(self) -> str: ...


class Stage:
    """watch: raises when the broker lost records."""

    def __init__(
        self,
        source: Source,
        consumer: Consumer,
        sandbox: Sandbox,
        say: Callable[[str], None],
        watch: Callable[[], None],
        hints: tuple[str, ...] = (),
    ) -> None:
        self._hints = hints
        self._source, self._consumer, self._sandbox = source, consumer, sandbox
        self._say, self._watch = say, watch
        self._readings: Final = Readings()
        self._events: deque[tuple[float, str]] = deque(maxlen=20)
        self._on: dict[str, str] = {}
        self._shown = False
        self._kills = 0
        self._paused = False
        self._ended = False
        self._started_s = time.monotonic()
        self.figures = Figures()

    def play(
        self, duration_s: float, rate: float, *, keep: bool, console: Console | None, picture: Path | None = None
    ) -> None:
        """Until the duration is over, Ctrl-C or q; with keep, until one of the latter. Raises Unavailable."""
        self._consumer.start()
        self._shown = console is not None
        self._tell("500 changes are there; the consumer joins its group, and begins to send" if rate else "it starts")
        self._started_s = time.monotonic()
        try:
            if console is None:
                self._run(duration_s, rate, keep, None, Keys())
            else:
                with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
                    self._run(duration_s, rate, keep, live, keys)
        except KeyboardInterrupt:
            self._say("stopping")
        finally:
            self._readings.close()
            if picture is not None:
                draw(self.figures, picture)

    def _run(self, duration_s: float, rate: float, keep: bool, live: Live | None, keys: Keys) -> None:  # noqa: FBT001 - play says what it is
        due = deque(PROGRAMME if rate else ())
        looked_s = said_s = watched_s = last_s = 0.0
        owed = 0.0
        while not self._ended:
            passed_s = time.monotonic() - self._started_s
            if passed_s >= duration_s and not keep:
                return
            if keep and rate and passed_s >= duration_s and last_s < duration_s and not self._paused:
                if live is None:
                    self._say("\n".join(("the shop rests; Ctrl-C ends it with the comparison", *self._addresses())))
                self._press("p")  # an embedded broker holds no more than minutes of this
            owed += 0 if self._paused else (passed_s - last_s) * rate
            last_s = passed_s
            while owed >= 1:
                self._source.act()
                owed -= 1
            self._source.flush()
            while due and passed_s >= due[0][0] * duration_s:
                self._press(due.popleft()[1])
            for key in keys.take():
                self._press(key)
            if not self._consumer.alive:
                raise Unavailable(f"the consumer ended by itself: {self._consumer.log.read_text()[-2000:]}")
            if passed_s - watched_s >= WATCH_S:
                watched_s = passed_s
                self._watch()
            if passed_s - looked_s >= LOOK_S:
                looked_s = passed_s
                self._look(passed_s, None if keep else duration_s)
                if live is not None:
                    live.update(render(self.figures, live.console.width), refresh=True)
                elif passed_s - said_s >= LINE_S:
                    said_s = passed_s
                    self._say(line(self.figures))
            time.sleep(0.02)

    def _addresses(self) -> tuple[str, ...]:
        return (
            f"sandbox: {self._sandbox.url}/",
            f"metrics: {self._consumer.metrics_url or '(in a moment)'}{'/metrics' if self._consumer.metrics_url else ''}",
            *self._hints,
        )

    def _press(self, key: str) -> None:
        if key in INJECTED:
            name, fault, share = INJECTED[key]
            if key in self._on:
                del self._on[key]
                self._sandbox.fault({fault: CALM[fault]})
                self._tell(f"{name}: back to normal")
            else:
                self._on[key] = name
                self._sandbox.fault({fault: share, "slow_s": 1.0})
                self._tell(f"{name}: {share:.0%} of {'rows' if key == '3' else 'requests'}")
        elif key == "k":
            self._consumer.kill()
            self._consumer.start()
            self._kills += 1
            self._tell("kill -9: the consumer dies, and starts again")
            self._tell(f"  Kafka holds its session {SESSION_S} s; it waits {LATE_S} s more,")
            self._tell("  so that no request of its former self lands late")
        elif key == "p":
            self._paused = not self._paused
            self._tell("the source pauses" if self._paused else "the source goes on")
        elif key == "q":
            self._ended = True

    def _tell(self, text: str) -> None:
        self._events.append((time.monotonic() - self._started_s, text))
        if not self._shown:
            self._say(text)

    def _look(self, passed_s: float, duration_s: float | None) -> None:
        readings = self._readings
        readings.read(self._consumer.metrics_url, passed_s, self._source.changes)
        figures = Figures(passed_s=passed_s, duration_s=duration_s, changes=self._source.changes)
        readings.fill(figures)
        if not readings.answers:
            figures.state = "starting"
        else:
            figures.state = "running" if readings.sends else "joining"
        try:
            found, stats = self._sandbox.present(), self._sandbox.stats()
        except httpx.HTTPError as error:
            raise Unavailable(f"the sandbox does not answer: {error}") from error
        truth = self._source.truth()
        figures.wanted = sum(map(len, truth.values()))
        figures.in_sync = sum(len(truth[code] & found[code]) for code in truth)
        figures.extra = sum(len(found[code] - truth[code]) for code in truth)
        figures.faults = fault_counts(stats, self._kills)
        figures.faults_on = (*self._on.values(), *(("pause the source",) if self._paused else ()))
        figures.addresses = self._addresses() if duration_s is None else ()
        figures.events = tuple(self._events)
        self.figures = figures


def draw(figures: Figures, path: Path, columns: int = 120) -> None:
    """Write the view of these figures as SVG."""
    console = Console(width=columns, record=True, file=StringIO(), force_terminal=True)
    console.print(render(figures, columns))
    svg = console.export_svg(title="segstream demo")
    # it would load a font from elsewhere
    path.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")
