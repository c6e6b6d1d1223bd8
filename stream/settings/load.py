"""From files, environment and command line to Settings, or to one line for each problem."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stream.errors import SettingsError
from stream.settings.kinds import PathOfKeys, Problems
from stream.settings.model import Settings
from stream.settings.source import Tree, read_environment, read_file, read_overrides

PROBLEMS_SHOWN_MAX: Final = 50
VALUE_LENGTH_MAX: Final = 80
_SECRET: Final = re.compile(r"password|passwd|secret|token|credential|jaas|\bpem\b|(?:^|[._])key$", re.IGNORECASE)
_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a group of keys",
    "model_attributes_type": "a group of keys",
    "dict_type": "a group of keys",
    "tuple_type": "a list",
    "path_type": "a path",
    "finite_number": "a finite number",
}


def load(path: Path | None, environment: Mapping[str, str], overrides: Sequence[str] = ()) -> Settings:
    """Read the settings: the file, overridden by SEGSTREAM_<SECTION>__<KEY> variables and then by `section.key=value`.

    Raises SettingsError with one line for each problem: place, key, value (secrets masked), and what is allowed.
    """
    tree = Tree()
    if path is not None:
        read_file(tree, path)
    if tree.problems:
        # what could not be read would only show up again as something that is missing
        raise _error(tree.problems)
    read_environment(tree, environment, list(Settings.model_fields))
    read_overrides(tree, overrides)
    problems = list(tree.problems)
    try:
        settings = Settings.model_validate(tree.data)
    except ValidationError as error:
        problems += _lines(tree, error)
    else:
        if not problems:
            return settings
    # the validation error quotes values, so it must not travel along
    raise _error(problems) from None


def _error(problems: list[str]) -> SettingsError:
    if len(problems) > PROBLEMS_SHOWN_MAX:
        problems = [*problems[:PROBLEMS_SHOWN_MAX], f"… and {len(problems) - PROBLEMS_SHOWN_MAX} more problems"]
    return SettingsError(
        "\n".join(problems), advice="`segstream settings` prints every setting with its meaning and default"
    )


Location = tuple[int | str, ...]


def _lines(tree: Tree, error: ValidationError) -> list[str]:
    lines: list[str] = []
    for item in error.errors(include_url=False):
        kind, location, context = item["type"], item["loc"], item.get("ctx", {})
        path = _written(tree.data, location)
        cause = context.get("error")
        if isinstance(cause, Problems):
            found = [((*path, *below), text) for below, text in cause.problems]
        elif isinstance(cause, ValueError):
            found = [(path, str(cause))]
        else:
            found = [(path, _text(kind, context, location))]
        for where, text in found:
            value = "" if kind in ("extra_forbidden", "missing") else _shown(tree.data, where)
            lines.append(
                " ".join(filter(None, (f"{tree.place(where)}:", f"{'.'.join(where)}:" if where else "", value, text)))
            )
    return lines


def _written(data: Any, location: Location) -> PathOfKeys:
    """Return the location as written: a single condition stands for a list of one, so its index is in no file."""
    path: list[str] = []
    for step in location:
        if isinstance(data, dict) and isinstance(step, int):
            continue
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            data = None
        path.append(str(step))
    return tuple(path)


def _shown(data: Any, path: PathOfKeys) -> str:
    """Return the value as written, for an error's line: masked if it may be a secret, shortened, nothing if nested."""
    for key in path:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            return ""
    if isinstance(data, (dict, list)):
        return ""
    if any(_SECRET.search(key) and not key.endswith("_file") for key in path[-1:]) or "@" in str(data):
        return "(hidden)"
    text = "null" if data is None else str(data).lower() if isinstance(data, bool) else repr(data)
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"


def _text(kind: str, context: Mapping[str, Any], location: Location) -> str:
    field = _field(location)
    if kind == "missing":
        return "is required" + (f": {field.description}" if field and field.description else "")
    if kind == "extra_forbidden":
        allowed = _keys(location[:-1])
        near = get_close_matches(str(location[-1]).lower(), allowed, n=1, cutoff=0.6)
        return "is no setting" + (f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(allowed)}")
    if kind in _WANTED:
        return f"is not {_WANTED[kind]}{_range(field)}"
    if kind == "literal_error":
        return "is not allowed; allowed: " + str(context.get("expected", "")).replace("'", "").replace(" or ", ", ")
    if kind in ("greater_than_equal", "less_than_equal"):
        return f"is out of range{_range(field)}"
    if kind in ("too_short", "string_too_short"):
        return "is empty"
    if kind == "too_long":
        return f"has more than {context['max_length']} entries"
    if kind == "string_pattern_mismatch":
        return f"holds characters that are not allowed; allowed: {context['pattern']}"
    return "is not valid"


def _range(field: FieldInfo | None) -> str:
    if field is None:
        return ""
    low = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
    high = next((limit.le for limit in field.metadata if hasattr(limit, "le")), None)
    return "" if low is None or high is None else f"; allowed: {low} to {high} ({field.description})"


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Find the model inside a field's annotation, and whether an index or a name stands between."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    nested = [_inner(kind) for kind in get_args(annotation)]
    model, between = next((found for found in nested if found[0] is not None), (None, False))
    return model, between or get_origin(annotation) in (dict, tuple, list)


def _field(location: Location) -> FieldInfo | None:
    """Find the field that a location names; None for a list's index, a topic's name, or an unknown key."""
    field: FieldInfo | None = None
    model: type[BaseModel] | None = Settings
    between = False
    for step in location:
        if between:
            field, between = None, False
            continue
        field = None if model is None else _fields(model).get(str(step))
        model, between = _inner(field.annotation) if field is not None else (None, False)
    return field


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _keys(location: Location) -> list[str]:
    """List the keys that may stand at a location."""
    for length in range(len(location), 0, -1):
        field = _field(location[:length])
        if field is not None:
            model, _ = _inner(field.annotation)
            return [] if model is None else list(_fields(model))
    return list(_fields(Settings))
