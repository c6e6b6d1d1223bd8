"""Where settings come from: a YAML file, the environment, the command line; with the place of each key.

YAML is read by the rules of YAML 1.2's core schema, so that no, on, 22:22 and 010006 stay the text they are.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from stream.settings.kinds import PathOfKeys

FILE_BYTES_MAX: Final = 1_048_576
NODES_MAX: Final = 100_000
DEPTH_MAX: Final = 20
PREFIX: Final = "SEGSTREAM_"
# what Kubernetes sets in every pod beside a Service that is called segstream
_SERVICE_LINK: Final = re.compile(r"SEGSTREAM_(SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?)")
# what the command line reads itself: the name of the file
_OTHERS: Final = ("SEGSTREAM_CONFIG",)
_DOTTED: Final = ("kafka", "kafka_secret_files")


class _Loader(yaml.SafeLoader):
    """A loader that resolves plain scalars as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the base class declares it so


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


class Tree:
    """Nested plain data, and for each path of keys the place where it was written."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.places: dict[PathOfKeys, str] = {}
        self.problems: list[str] = []

    def place(self, path: PathOfKeys) -> str:
        """Return the place of the path, or of the nearest key above it that was written somewhere."""
        for length in range(len(path), -1, -1):
            if (found := self.places.get(path[:length])) is not None:
                return found
        return "settings"

    def put(self, path: PathOfKeys, value: Any, place: str) -> None:
        """Set a value from outside the file; it wins over what is there."""
        level = self.data
        for depth, key in enumerate(path[:-1], 1):
            below = level.get(key)
            if below is None:
                below = level[key] = {}
                self.places[path[:depth]] = place
            if not isinstance(below, dict):
                self.problems.append(f"{place}: {'.'.join(path[:depth])} holds no keys, so nothing can be set below it")
                return
            level = below
        level[path[-1]] = value
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]
        self.places[path] = place


def read_file(tree: Tree, path: Path) -> None:
    """Read the YAML file into the tree; what is wrong with it becomes problems of the tree."""
    name = str(path)
    tree.places[()] = name
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        tree.problems.append(f"{name}: cannot be read: {error.strerror or error}")
        return
    if len(raw) > FILE_BYTES_MAX:
        tree.problems.append(f"{name}: is longer than {FILE_BYTES_MAX} bytes")
        return
    try:
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError:
        tree.problems.append(f"{name}: is not UTF-8 text")
        return
    except (yaml.YAMLError, RecursionError) as error:
        tree.problems.append(_syntax(name, error))
        return
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        tree.problems.append(f"{name}:{node.start_mark.line + 1}: is not a mapping of keys to values")
        return
    tree.data = _Reader(tree, name).value(node, ())


def _syntax(name: str, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None else ""
    what = getattr(error, "problem", None) or "nested too deeply"
    return f"{name}{line}: is not YAML: {' '.join(str(what).split())}"


class _Reader:
    """Turns composed nodes into plain data, noting lines, and refusing what nobody means to write."""

    def __init__(self, tree: Tree, name: str) -> None:
        self._tree = tree
        self._name = name
        self._left = NODES_MAX
        self._loader = _Loader("")

    def value(self, node: yaml.Node, path: PathOfKeys) -> Any:
        self._left -= 1
        place = f"{self._name}:{node.start_mark.line + 1}"
        self._tree.places.setdefault(path, place)
        if self._left < 0 or len(path) > DEPTH_MAX:
            # aliases multiply: a few lines can stand for millions of nodes
            if self._left in (-1, 0) or len(path) > DEPTH_MAX:
                self._tree.problems.append(f"{place}: more than {NODES_MAX} values, or nested deeper than {DEPTH_MAX}")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value) if self._left >= 0]
        return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else None

    def _scalar(self, node: yaml.ScalarNode, place: str) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind == "str":
            return node.value
        if kind in ("int", "float", "bool", "null") and node.style is None:
            return self._loader.construct_object(node)
        self._tree.problems.append(f"{place}: the tag {node.tag} is not known here; write a plain value")
        return None

    def _mapping(self, node: yaml.MappingNode, path: PathOfKeys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if self._left < 0:
                break
            line = key_node.start_mark.line + 1
            place = f"{self._name}:{line}"
            if not isinstance(key_node, yaml.ScalarNode):
                self._tree.problems.append(f"{place}: a key is not plain text")
                continue
            # the text as written: a topic called 1 or null is a name, too
            key = key_node.value
            if key in lines:
                self._tree.problems.append(
                    f"{place}: {'.'.join((*path, key))} is written twice, first in line {lines[key]}"
                )
                continue
            lines[key] = line
            self._tree.places[(*path, key)] = place
            found[key] = self.value(value_node, (*path, key))
        return found


def read_environment(tree: Tree, environment: Mapping[str, str], sections: Sequence[str]) -> None:
    """Set what SEGSTREAM_<SECTION>__<KEY> variables say. `sections` are the top-level keys."""
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in _OTHERS or _SERVICE_LINK.fullmatch(variable):
            continue
        place = f"environment {variable}"
        first, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if first in _DOTTED and rest:
            path: PathOfKeys = (first, "__".join(rest).replace("_", "."))
        else:
            path = (first, *rest)
        if first not in sections and not rest:
            tree.problems.append(
                f"{place}: no such setting; names are {PREFIX}<SECTION>__<KEY>, two underscores between"
            )
            continue
        if first == "tables" and rest:
            tree.problems.append(f"{place}: topics cannot be spelled in a variable's name; write them in the file")
            continue
        tree.put(path, plain_value(environment[variable]), place)


def read_overrides(tree: Tree, overrides: Sequence[str]) -> None:
    """Set what `section.key=value` arguments say."""
    for override in overrides:
        key, equals, text = override.partition("=")
        first, _, rest = key.strip().partition(".")
        if not equals or not first:
            tree.problems.append("command line: an override is not of the form section.key=value")
            continue
        path = (first, rest) if first in _DOTTED and rest else tuple(key.strip().split("."))
        tree.put(path, plain_value(text), f"command line {key.strip()}")


def plain_value(text: str) -> Any:
    """Read a value from outside the file: a YAML scalar, or a list or mapping in brackets; else the text itself."""
    try:
        node = yaml.compose(text[:FILE_BYTES_MAX], Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        return text
    if isinstance(node, yaml.ScalarNode) and node.style is None and node.value == text.strip():
        kind = node.tag.rpartition(":")[2]
    elif isinstance(node, yaml.CollectionNode) and node.flow_style:
        kind = "flow"
    else:
        return text
    if kind == "str":
        return text
    inner = Tree()
    value = _Reader(inner, "value").value(node, ())
    return text if inner.problems else value
