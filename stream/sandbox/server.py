"""A sandbox to run: for ever in this thread, in a thread of its own, or as a process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from stream.errors import Unavailable
from stream.sandbox import admin, store
from stream.sandbox.app import App
from stream.sandbox.config import SandboxConfig
from stream.sandbox.wire import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from stream.sandbox.state import Shop

T = TypeVar("T")
START_S = 10.0


async def serve(config: SandboxConfig, ready: Callable[[str, App], None], stop: asyncio.Event) -> None:
    """Load, listen, call `ready(url, app)`, run until `stop`, save. Raises OSError and ValueError of load and save."""
    app = App(config, asyncio.get_running_loop())
    if config.load is not None:
        store.load(app.shop, config.load)
    server = Server(config, app)
    port = await server.start()
    host = f"[{config.host}]" if ":" in config.host else config.host
    ready(f"http://{host}:{port}", app)
    try:
        await stop.wait()
    finally:
        await server.stop()
        if config.save is not None:
            store.save(app.shop, config.save)


class Sandbox:
    """`with Sandbox(config) as sandbox:` serves from a thread. Everything here may be called from any thread."""

    def __init__(self, config: SandboxConfig | None = None) -> None:
        self.config = config or SandboxConfig()
        self.url = ""
        self._app: App | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def __enter__(self) -> Self:
        """Raises what kept it from starting."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise Unavailable(f"the sandbox did not start within {START_S:g} s")
        if self._error is not None:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)
        if self._error is not None and error is None:
            raise self._error

    @property
    def state(self) -> Shop:
        """The live state: look at it through `call` while requests run."""
        return self.app.shop

    @property
    def app(self) -> App:
        assert self._app is not None, "the sandbox is not running"  # noqa: S101 - a mistake in a test
        return self._app

    def call(self, work: Callable[[App], T]) -> T:
        """Do `work` in the sandbox's own thread, between two requests."""
        assert self._loop is not None, "the sandbox is not running"  # noqa: S101 - a mistake in a test

        async def run() -> T:
            return work(self.app)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(START_S)

    def members(self, code: str) -> set[str]:
        """The customers in the segment now. Raises KeyError."""
        return self.call(lambda app: set(app.shop.segments[code].customers.ids))

    def faults(self, **values: object) -> None:
        """Change faults. Raises ValueError."""
        self.call(lambda app: app.faults.change(values))

    def stats(self) -> dict[str, Any]:
        return self.call(admin.stats)

    def history(self, segment: str, member: str) -> list[dict[str, Any]]:
        return self.call(lambda app: app.witness.history(segment, member))

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()

        def ready(url: str, app: App) -> None:
            self.url, self._app = url, app
            self._ready.set()

        await serve(self.config, ready, self._stop)


class SandboxProcess:
    """The same as a process: `with SandboxProcess("--segment", "vip") as sandbox: sandbox.url`."""

    def __init__(self, *arguments: str) -> None:
        self.arguments: Sequence[str] = arguments
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Raises Unavailable when it ends before it is ready."""
        command = [sys.executable, "-m", "stream.sandbox", "--port", "0", *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        assert self.process.stdout is not None  # noqa: S101 - asked for above
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://"):
            self.process.kill()
            self.process.wait(START_S)
            self.process.stdout.close()
            raise Unavailable(f"the sandbox ended with {self.process.returncode} before it was ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self.process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(START_S)
        if process.stdout is not None:
            process.stdout.close()
