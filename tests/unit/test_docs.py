"""docs/operations.md knows every metric, every reason and every exit code that the program has."""

import ast
import re
from pathlib import Path

import pytest

from stream import errors
from stream.core import resolver, verdict
from stream.core.reasons import ALARMS, LETTERS
from stream.core.rows import PUT_OFF, SEGMENT_DELETED, SEGMENT_DYNAMIC, SEGMENT_MISSING
from stream.edge.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SUFFIXES = {"counter": "_total", "info": "_info"}


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, f"docs/operations.md has no section {title}"
    return found


def first_column(text: str) -> set[str]:
    return {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        for name in re.findall(r"`([\w.]+)`", row)
    }  # fmt: skip


def labels_of_calls(path: str, name: str, place: int) -> set[str]:
    """The labels that stand at this place of the calls of `name` in a file, plain or as `x if … else y`."""
    tree = ast.parse((ROOT / path).read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == name:
            label = node.args[place]
            branches = (label.body, label.orelse) if isinstance(label, ast.IfExp) else (label,)
            found |= {b.value for b in branches if isinstance(b, ast.Constant) and isinstance(b.value, str)}
    return found


def returned_by(path: str, name: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    function = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == name)
    values = (n.value for n in ast.walk(function) if isinstance(n, ast.Return))
    return {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str) and v.value}


def test_the_table_of_metrics_is_the_registry() -> None:
    families = Metrics.fresh("0").registry.collect()
    exported = {f.name + SUFFIXES.get(f.type, "") for f in families if f.name.startswith("segstream_")}
    assert first_column(section("Metrics")) == exported


def test_every_reason_for_which_nothing_is_sent_is_explained() -> None:
    reasons = returned_by("stream/core/engine.py", "why_closed")
    assert len(reasons) >= 5
    assert first_column(section("Why nothing is sent")) == reasons


def test_every_alarm_is_explained() -> None:
    files = [f"stream/core/{name}.py" for name in ("engine", "fold", "delivery", "resolver", "catalog")]
    alarms = set().union(*(labels_of_calls(path, call, 0) for path in files for call in ("_alarm", "_say")))
    assert len(alarms) >= 4
    assert set(ALARMS) == alarms
    assert first_column(section("Alarms")) == alarms


def test_every_reason_of_a_pending_row_is_explained() -> None:
    waits = {resolver.LOOKUP, resolver.NO_CUSTOMER_ROW, resolver.NO_SEGMENT_ROW, resolver.UNKNOWN}
    waits |= {
        PUT_OFF,
        SEGMENT_DYNAMIC,
        SEGMENT_MISSING,
        SEGMENT_DELETED,
        resolver.OTHER_OWNER,
        *resolver.UNANSWERED,
        *resolver.WHY.values(),
    }
    assert first_column(section("Pending rows")) == waits


def test_every_reason_of_a_letter_is_explained() -> None:
    reasons = labels_of_calls("stream/core/mapping.py", "Refusal", 0) | labels_of_calls(
        "stream/core/claims.py", "Refusal", 0
    )
    reasons |= labels_of_calls("stream/core/fold.py", "Refusal", 0)
    reasons |= labels_of_calls("stream/core/fold.py", "_bury", 2)
    for path in sorted((ROOT / "stream" / "core" / "decode").glob("*.py")):
        reasons |= labels_of_calls(str(path.relative_to(ROOT)), "Unreadable", 0)
    reasons |= set(verdict.RefusedReason.__args__)  # type: ignore[attr-defined]  # a Literal's values
    assert len(reasons) > 20
    assert set(LETTERS) == reasons
    assert first_column(section("Letters")) == reasons


@pytest.mark.parametrize("kind", [errors.SegstreamError, *errors.SegstreamError.__subclasses__()])
def test_every_exit_code_is_explained(kind: type[errors.SegstreamError]) -> None:
    assert f"| {kind.exit_code} |" in section("Exit codes")
