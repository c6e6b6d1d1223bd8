"""Which module may import which: core <- edge <- loop, compare <- cli; leaves import nothing; the core is pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "stream"
MODULES = sorted(ROOT.rglob("*.py"))

LAYERS = (
    "errors",
    "settings",
    "core",
    "edge",
    "wiring",
    "beside",
    "watch",
    "loop",
    "compare",
    "check",
    "survey",
    "seek",
    "inventory",
    "cli",
    "sandbox",
    "demo",
)
# what each layer may import of the others, besides itself
ALLOWED = {
    "errors": set(),
    "settings": {"errors"},
    "core": {"errors"},
    "edge": {"errors", "settings", "core"},
    "wiring": {"errors", "settings", "core", "edge"},
    "beside": {"errors", "settings", "core", "edge", "wiring"},
    "watch": {"errors", "settings", "core", "edge", "wiring", "beside"},
    "loop": {"errors", "settings", "core", "edge", "wiring", "beside", "watch"},
    "compare": {"errors", "settings", "core", "edge", "wiring"},
    "check": {"errors", "settings", "core", "edge", "wiring"},
    "survey": {"errors", "settings", "core", "edge"},
    "seek": {"errors", "settings", "core", "edge", "wiring"},
    "inventory": {"errors", "settings", "core", "edge", "wiring"},
    "cli": {
        "errors",
        "settings",
        "core",
        "edge",
        "wiring",
        "loop",
        "compare",
        "check",
        "survey",
        "seek",
        "inventory",
        "sandbox",
        "demo",
    },
    "sandbox": {"errors"},
    "demo": {"errors", "settings", "sandbox"},
}
# a clock, a socket, a thread, randomness, a log, the environment: what would make a run of the core not repeatable
IMPURE = {
    "time", "datetime", "socket", "ssl", "select", "selectors", "asyncio", "threading", "multiprocessing", "concurrent",
    "queue", "random", "secrets", "logging", "warnings", "os", "sys", "pathlib", "tempfile", "shutil",
    "subprocess", "signal", "urllib", "http", "httpx", "confluent_kafka", "prometheus_client", "lmdb", "starlette",
    "uvicorn", "yaml", "pydantic", "rich",
}  # fmt: skip
# of these only what neither reads nor guesses
PURE_PART = {"io": {"BytesIO"}, "uuid": {"UUID"}}
EDGE_ONLY = {"confluent_kafka", "httpx", "threading", "prometheus_client"}


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also of those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            base = node.module or ""
            # `from stream import cli` names its layer only in what it imports
            yield from ((node.lineno, f"{base}.{alias.name}" if base == "stream" else base) for alias in node.names)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT.parent))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_direction_of_imports(path: Path) -> None:
    own = layer(path)
    wrong = []
    for line, dotted in imports(path):
        first, _, rest = dotted.partition(".")
        other = rest.partition(".")[0]
        if first != "stream" or own in ("__init__", "__main__") or other in (own, "__version__"):
            continue
        assert other in LAYERS, f"{name(path)}:{line}: {dotted} is in no layer"
        if other not in ALLOWED[own]:
            wrong.append(f"{name(path)}:{line}: {own} imports {dotted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in MODULES if layer(path) == "core"], ids=name)
def test_the_core_is_pure(path: Path) -> None:
    wrong = [f"{name(path)}:{line}: {dotted}" for line, dotted in imports(path) if dotted.partition(".")[0] in IMPURE]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="open" | "print" | "input" as called)):
                wrong.append(f"{name(path)}:{node.lineno}: {called}()")
            case ast.Attribute(value=ast.Name(id=module), attr=used) if used not in PURE_PART.get(module, {used}):
                wrong.append(f"{name(path)}:{node.lineno}: {module}.{used}")
            case ast.ImportFrom(module=str(module)) if module in PURE_PART:
                wrong.append(f"{name(path)}:{node.lineno}: import {module} whole, to show what is used of it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", [path for path in MODULES if layer(path) not in ("edge", "sandbox", "demo")], ids=name)
def test_only_the_edge_touches_the_outside(path: Path) -> None:
    # the version command loads the clients to print what they are
    versions = {"confluent_kafka", "httpx"} if path.name == "version.py" else set()
    wrong = [
        f"{name(path)}:{line}: {dotted}"
        for line, dotted in imports(path)
        if dotted.partition(".")[0] in EDGE_ONLY - versions
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_is_in_a_layer() -> None:
    assert {layer(path) for path in MODULES} <= {*LAYERS, "__init__", "__main__"}


def test_the_reader_of_imports_sees_what_it_must(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import time as t, os.path\nfrom stream import cli\ndef f():\n    from stream.edge.api import X\n")
    assert [dotted for _, dotted in imports(path)] == ["time", "os.path", "stream.cli", "stream.edge.api"]
