"""The play between start and comparison: changes come, faults come and go, the consumer is killed, all is shown."""

from __future__ import annotations

import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console
from rich.live import Live

from stream.demo.figures import Figures, Readings, Second, Segment, fault_counts
from stream.demo.keys import Keys
from stream.demo.lag import Lag
from stream.demo.news import news
from stream.demo.processes import LATE_S, Consumer, Sandbox
from stream.demo.shop import CHANGES_MAX
from stream.demo.view import folded, line, render, told

LOOK_S: Final = 0.5
LINE_S: Final = 3.0
WATCH_S: Final = 2.0
SECOND_S: Final = 1.0
UNDER_WAY_S: Final = 0.5
EVENTS_KEPT: Final = 60
SECONDS_KEPT: Final = 120
CALM: Final[dict[str, Any]] = {"throttle_share": 0.0, "error_share": 0.01, "row_error_share": 0.002, "slow_share": 0.0}
INJECTED: Final[dict[str, tuple[str, str, float]]] = {
    # key: name, the sandbox's fault, its share while it is on
    "1": ("429", "throttle_share", 0.2),
    "2": ("5xx", "error_share", 0.3),
    "3": ("row errors", "row_error_share", 0.1),
    "4": ("slow", "slow_share", 0.3),
}
# what happens by itself, at these shares of the duration: the key, and whether its fault is on then
PROGRAMME: Final = ((0.27, "1", True), (0.37, "1", False), (0.42, "k", True), (0.86, "2", True), (0.93, "2", False))
KILL_LATEST: Final = 0.75


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
    """watch: raises when the broker lost records. hints: lines to keep in sight."""

    def __init__(
        self,
        source: Source,
        consumer: Consumer,
        sandbox: Sandbox,
        lag: Lag,
        say: Callable[[str], None],
        watch: Callable[[], None],
        hints: tuple[str, ...] = (),
    ) -> None:
        self._hints = hints
        self._source, self._consumer, self._sandbox, self._lag = source, consumer, sandbox, lag
        self._say, self._watch = say, watch
        self._readings: Final = Readings()
        self._events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)
        self._seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)
        self._second: tuple[float, float, float] = (0.0, 0.0, 0.0)  # when the last one ended; changes and edits then
        self._on: dict[str, str] = {}
        self._shown = False
        self._kills = 0
        self._found: dict[str, set[str]] = {}
        self._follows = False  # few changes, made by a person: each is told
        self._paused = False
        self._ended = self._interrupted = False
        self._started_s = time.monotonic()
        self.figures = Figures()

    def play(
        self, duration_s: float, rate: float, *, keep: bool, console: Console | None, picture: Path | None = None
    ) -> None:
        """Until the duration is over, Ctrl-C or q; with keep, until one of the latter. Raises Unavailable."""
        self._consumer.start()
        self._shown = console is not None
        self._follows = not rate
        self._tell(f"{self._source.changes} changes wait; the consumer starts" if rate else "the consumer starts")
        self._started_s = time.monotonic()
        self._second = (0.0, self._source.changes, 0.0)
        try:
            with self._interruptible():
                if console is None:
                    self._run(duration_s, rate, keep, None, Keys())
                else:
                    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
                        self._run(duration_s, rate, keep, live, keys)
        finally:
            self._readings.close()
            if picture is not None:
                draw(self.figures, picture)
        if self._interrupted:
            self._say("stopping; Ctrl-C once more leaves without the comparison")
        # the live view is gone by now, and with it what it said
        self._say("\n".join(told(self.figures)))

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Signals end the turn, not a line of it: a change that is half made would make the table itself wrong."""

        def end(*_: object) -> None:
            self._ended = self._interrupted = True

        before = {sign: signal.signal(sign, end) for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def _run(self, duration_s: float, rate: float, keep: bool, live: Live | None, keys: Keys) -> None:  # noqa: FBT001 - play says what it is
        due = deque(PROGRAMME if rate else ())
        looked_s = said_s = watched_s = last_s = 0.0
        owed = 0.0
        size = None
        self._look(0.0, None if keep else duration_s, keys=keys.there)
        while not self._ended:
            passed_s = time.monotonic() - self._started_s
            if passed_s >= duration_s and not keep:
                return
            if keep and rate and passed_s >= duration_s and last_s < duration_s and not self._paused:
                if live is None:
                    self._say("\n".join(self._addresses()))
                self._tell("the shop has made its changes; Ctrl-C ends with the comparison")
                self._press("p")
            if rate and not self._paused and self._source.changes >= CHANGES_MAX:
                self._tell(f"after {CHANGES_MAX:,} changes the shop rests: the embedded broker holds no more")
                self._press("p")
            owed += 0 if self._paused else (passed_s - last_s) * rate
            last_s = passed_s
            while owed >= 1:
                self._source.act()
                owed -= 1
            self._source.flush()
            pressed = keys.take()
            while due and passed_s >= due[0][0] * duration_s:
                if due[0][1] == "k" and not self._readings.sends and passed_s < KILL_LATEST * duration_s:
                    break  # it shall come in the middle of sending
                _, key, on = due.popleft()
                if (key in self._on) != on:  # it may have been pressed already
                    pressed += key
            for key in pressed:
                self._press(key)
            self._consumer.check_alive()
            if passed_s - watched_s >= WATCH_S:
                watched_s = passed_s
                self._watch()
            if passed_s - looked_s >= LOOK_S or pressed:
                looked_s = passed_s
                self._look(passed_s, None if keep else duration_s, keys=keys.there)
                size = None
            if live is not None and live.console.size != size:
                size = live.console.size
                live.update(render(self.figures, size.width, size.height), refresh=True)
            elif live is None and passed_s - said_s >= LINE_S:
                said_s = passed_s
                self._say(line(self.figures))
            time.sleep(0.02)

    def _addresses(self) -> tuple[str, ...]:
        consumer = self._consumer.metrics_url
        return (
            f"sandbox: {self._sandbox.url}/",
            f"consumer: {consumer}/metrics and /readyz" if consumer else "consumer: in a moment",
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
            self._kill()
        elif key == "p":
            self._paused = not self._paused
            self._tell("the source pauses" if self._paused else "the source goes on")
        elif key == "q":
            self._ended = True

    def _kill(self) -> None:
        """While rows are on their way, where some are within UNDER_WAY_S."""
        until_s = time.monotonic() + UNDER_WAY_S
        while not (rows := self._sandbox.rows_under_way()) and self._readings.sends and time.monotonic() < until_s:
            time.sleep(0.005)
        self._consumer.kill()
        self._consumer.start()
        self._kills += 1
        self._tell(
            f"kill -9 with {rows or 'no'} row{'s' * (rows != 1)} under way. Restarted, it waits for its old session's "
            f"end, and {LATE_S} s for late requests"
        )

    def _tell(self, text: str) -> None:
        self._events.append((time.monotonic() - self._started_s, text))
        if not self._shown:
            self._say("\n".join(folded(text)))

    def _look(self, passed_s: float, duration_s: float | None, *, keys: bool) -> None:
        readings = self._readings
        readings.read(self._consumer.metrics_url, passed_s, self._source.changes)
        figures = Figures(passed_s=passed_s, duration_s=duration_s, changes=self._source.changes, keys=keys)
        readings.fill(figures)
        figures.state = readings.state
        figures.lag = self._lag.read()
        found, stats, truth = self._sandbox.present(), self._sandbox.stats(), self._source.truth()
        if self._follows:
            for text in (*news(self._found, found), *self._consumer.alarms()):
                self._tell(text)
            self._found = found
        figures.segments = tuple(
            Segment(code, len(wanted), len(wanted & found[code]), len(found[code] - wanted))
            for code, wanted in truth.items()
        )
        figures.wanted = sum(segment.wanted for segment in figures.segments)
        figures.in_sync = sum(segment.in_sync for segment in figures.segments)
        figures.extra = sum(segment.extra for segment in figures.segments)
        figures.faults = fault_counts(stats, self._kills)
        figures.faults_on = (*self._on.values(), *(("pause",) if self._paused else ()))
        figures.addresses = self._addresses() if duration_s is None else ()
        figures.events = tuple(self._events)
        self._note_second(figures)
        figures.seconds = tuple(self._seconds)
        self.figures = figures

    def _note_second(self, figures: Figures) -> None:
        ended_s, changes, edits = self._second
        took_s = figures.passed_s - ended_s
        if took_s < SECOND_S:
            return
        differing = figures.wanted - figures.in_sync + figures.extra
        self._seconds.append(
            Second(
                max(figures.changes - changes, 0) / took_s,
                max(figures.edits - edits, 0) / took_s,
                figures.lag or 0,
                differing,
            )
        )
        self._second = (figures.passed_s, figures.changes, figures.edits)


def draw(figures: Figures, path: Path, columns: int = 120, lines: int = 32) -> None:
    """Write the view of these figures as SVG."""
    console = Console(width=columns, height=lines, record=True, file=StringIO(), force_terminal=True)
    console.print(render(replace(figures, keys=True), columns, lines))
    svg = console.export_svg(title="segstream demo")
    # it would load a font from elsewhere
    path.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")
