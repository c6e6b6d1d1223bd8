"""The demo with the real stack: a person types SQL into PostgreSQL and sees the member appear."""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from stream.demo.lag import Lag
from stream.demo.processes import GROUP, Consumer, Sandbox, settings_text
from stream.demo.run import FAULTS, Plan, Say, finish
from stream.demo.shop import SEGMENTS, TOPIC
from stream.demo.stage import Stage
from stream.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import Console

TESTS: Final = Path(__file__).resolve().parents[2] / "tests"
ROWS: Final = 20  # that TABLE inserts
TABLE: Final = """
create table segment_members (id bigserial primary key, segment_code text not null, customer_id bigint not null);
insert into segment_members (segment_code, customer_id) select 'newsletter', n from generate_series(1, 20) n;
"""
EXAMPLE: Final = "insert into segment_members values (default, 'vip', 4711);"


def demo_postgres(plan: Plan, say: Say, console: Console | None = None) -> int:
    """Run until Ctrl-C. 0 when the segments equal the table then. Raises Unavailable where the stack is missing."""
    stack_module, kit = load_stack(TESTS)
    say("PostgreSQL, Kafka and Debezium start; this takes some 20 seconds")
    with ExitStack() as ended:
        ended.enter_context(told_shortly())
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="segstream-demo-")))
        stack = ended.enter_context(stack_module.Stack())
        stack.start(("kafka", "postgres", "connect"))
        stack.sql(TABLE)
        # a TRUNCATE is told, too: it is not executed, and the demo says so
        table = {"table.include.list": "public.segment_members", "skipped.operations": "none"}
        stack.connect("shop", table | stack_module.json_converters())
        stack.wait_caught_up("shop", TOPIC)
        sandbox = Sandbox(folder, FAULTS)
        ended.callback(sandbox.close)
        lag = Lag(stack.broker_address, GROUP, TOPIC)
        ended.callback(lag.close)
        consumer = Consumer(folder)
        ended.callback(consumer.kill)
        settings = settings_text(stack.broker_address, sandbox.url, folder / "secret", embedded=False)
        (folder / "segstream.yaml").write_text(settings)
        psql = "psql" if shutil.which("psql") else kit.postgres_bin / "psql"
        command = f"{psql} -h 127.0.0.1 -p {stack.postgres.port} -U segstream postgres"
        source = SqlTable(stack)
        say(f"the sandbox's page: {sandbox.url}/")
        say(f"type SQL in another window:\n  {command}\n  {EXAMPLE}")
        stage = Stage(source, consumer, sandbox, lag, say, lambda: None, hints=(command, EXAMPLE))
        stage.play(plan.duration_s, 0, keep=True, console=console, picture=plan.picture)
        stack.wait_caught_up("shop")
        return finish(source, consumer, sandbox, say, lambda: None)


@contextmanager
def told_shortly() -> Iterator[None]:
    """What goes wrong in the stack, or with PostgreSQL, becomes Unavailable with one line."""
    # of modules that are there in a checkout only
    names = {"stack.process": "StackError", "stack.kit": "StackMissing", "psycopg": "Error"}
    kinds = tuple(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules)
    try:
        yield
    except (*kinds, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # the last line is the end of a log that will be gone
        text = lines[0] if len(lines) == 1 else f"{lines[0].partition(' The end of ')[0]} {lines[-1]}"
        raise Unavailable(
            text, advice="--postgres needs what `make stack` installs, and its ports on loopback"
        ) from error


def load_stack(tests: Path) -> tuple[ModuleType, Any]:
    """The module that starts the real stack, and where its programs are. Raises Unavailable with what to do."""
    if not (tests / "stack" / "stack.py").exists():
        raise Unavailable(
            "--postgres needs a checkout of the project: it starts what the tests use", advice="git clone"
        )
    sys.path.insert(0, str(tests))
    try:
        module = importlib.import_module("stack.stack")
        kit = importlib.import_module("stack.kit")
    except ImportError as error:
        raise Unavailable(f"--postgres needs what the tests need: {error}", advice="run: make stack") from error
    finally:
        sys.path.remove(str(tests))
    try:
        return module, kit.kit()
    except kit.StackMissing as error:
        raise Unavailable(str(error), advice="run: make stack") from error


class SqlTable:
    """A membership table in PostgreSQL, as a source whose changes a person makes."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack

    @property
    def changes(self) -> int:
        """Rows inserted, updated and deleted since TABLE, as PostgreSQL counts them (a moment late)."""
        rows = self._stack.sql(
            "select n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where relname = 'segment_members'"
        )
        return max(int(rows[0][0]) - ROWS, 0) if rows else 0

    def act(self) -> None:
        """The person does."""

    def flush(self) -> None:
        """PostgreSQL does."""

    def truth(self) -> dict[str, set[str]]:
        """The table's members of each segment that there is."""
        found: dict[str, set[str]] = {code: set() for code in SEGMENTS}
        for segment, customer in self._stack.sql("select segment_code, customer_id from segment_members"):
            if segment in found:
                found[segment].add(str(customer))
        return found

    def summary(self) -> str:
        return f"{self.changes} changes in PostgreSQL"
