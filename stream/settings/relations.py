"""What must hold between tables, references and the table of segments; one problem for each that does not."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from stream.settings.kinds import PathOfKeys
from stream.settings.references import Reference
from stream.settings.segments import Segments
from stream.settings.tables import Table

Found = list[tuple[PathOfKeys, str]]

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


def names(references: Mapping[str, Reference]) -> Found:
    """References whose name is none."""
    return [
        ((name,), "is no name of a reference: a-z, 0-9 and _ only, a letter first, at most 64")
        for name in references
        if not NAME.fullmatch(name)
    ]


def references_used(tables: Mapping[str, Table], references: Mapping[str, Reference]) -> Found:
    """References that do not exist, do not hold what they are used for, or are used by nobody."""
    found: Found = []
    used: set[str] = set()
    for topic, table in tables.items():
        for place, name in table.references:
            path = ("tables", topic, place)
            used.add(name)
            reference = references.get(name)
            if reference is None:
                found.append((path, f"names a reference {name}, {_known(name, references)}"))
            elif place == "segment" and reference.code is None:
                found.append((path, f"needs references.{name}.code, the column of the segment's code"))
            elif place == "member" and not reference.terms:
                found.append((path, f"needs one of id, number, email in references.{name}"))
    found += [(("references", name), "is used by no table") for name in references if name not in used]
    return found


def _known(name: str, references: Mapping[str, Reference]) -> str:
    if not references:
        return "but there are no references"
    near = get_close_matches(name, references, n=1, cutoff=0.6)
    return f"which is not among them: {', '.join(references)}" + (f"; did you mean {near[0]}?" if near else "")


def topics_read(
    tables: Mapping[str, Table], references: Mapping[str, Reference], segments: Segments, own: str, letters: str
) -> Found:
    """Topics that are given two meanings, or are this program's own. own: the prefix of its state topics."""
    found: Found = []
    first: dict[str, tuple[str, Reference]] = {}
    for name, reference in references.items():
        path = ("references", name, "topic")
        if _is_own(reference.topic, own, letters):
            found.append((path, "is one of this program's own topics"))
        other, seen = first.setdefault(reference.topic, (name, reference))
        found += [
            (("references", name, knob), f"is not that of references.{other}, which reads the same topic")
            for knob in ("envelope", "format", "framing")
            if getattr(reference, knob) != getattr(seen, knob)
        ]
    if segments.topic is not None:
        if _is_own(segments.topic, own, letters):
            found.append((("segments", "topic"), "is one of this program's own topics"))
        table = next((name for name in tables if _is_of(segments.topic, name)), None)
        if table is not None:
            found.append((("segments", "topic"), f"is also a topic of the table {table}"))
    return found


def _is_own(topic: str, own: str, letters: str) -> bool:
    return topic == letters or topic.startswith(own)


def _is_of(topic: str, table: str) -> bool:
    return bool(re.search(table, topic)) if table.startswith("^") else table == topic
