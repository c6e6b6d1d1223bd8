"""The settings shown: as a commented YAML file that loads, and as a JSON Schema."""

import json
import textwrap
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stream.settings import kafka
from stream.settings.model import Settings
from stream.settings.references import Reference
from stream.settings.tables import Table

_WIDTH: Final = 118
_EXAMPLES: Final[dict[tuple[str, ...], Any]] = {
    ("kafka",): {"bootstrap.servers": "kafka:9092", "group.id": "segstream-shop"},
    ("retail_red", "merchant"): "10006",
    ("retail_red", "client_id"): "segstream",
    ("retail_red", "client_secret_file"): "/run/secrets/retail-red",
    ("tables",): {
        "shop.public.segment_members": {"segment": {"column": "segment_code"}, "member": {"id": "customer_id"}}
    },
    ("start",): "beginning",
}
_HEAD: Final = """\
# Every setting of segstream with its default; those without one hold an example.
# A variable SEGSTREAM_<SECTION>__<KEY> wins over the file, an argument --set section.key=value over both.
"""


def annotated_defaults() -> str:
    """Every knob as YAML that loads, each below a comment with its unit, meaning and limits."""
    return _HEAD + "\n".join(_section(Settings, (), "")) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings file."""
    schema = Settings.model_json_schema(by_alias=True, mode="validation")
    properties = schema["properties"]
    # named one by one, so that editors offer them
    properties["kafka"] |= {
        "properties": {name: {"type": ["string", "number", "boolean"]} for name in sorted(kafka.ALLOWED)},
        "additionalProperties": False,
        "required": sorted(kafka.REQUIRED),
    }
    properties["kafka_secret_files"] |= {
        "properties": {name: {"type": "string"} for name in sorted(kafka.SECRETS)},
        "additionalProperties": False,
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "segstream settings"}


def json_schema_text() -> str:
    """Return the JSON Schema as the file in schemas/ holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _section(model: type[BaseModel], path: tuple[str, ...], indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        lines += ([""] if not indent else []) + _comment(field, indent)
        below = _section_of(field)
        if (*path, key) in _EXAMPLES or below is None:
            lines += _entry(
                key, _EXAMPLES.get((*path, key), _plain(field.get_default(call_default_factory=True))), indent
            )
        else:
            lines += [f"{indent}{key}:", *_section(below, (*path, key), indent + "  ")]
        if (*path, key) == ("tables",):
            lines += _table_knobs()
        if (*path, key) == ("references",):
            lines += _reference_knobs()
    return lines


def _table_knobs() -> list[str]:
    """List the keys of a table, the optional ones with their defaults, as the first table of the example goes on."""
    lines: list[str] = []
    for name, field in Table.model_fields.items():
        if field.is_required():
            lines += _comment(field, "    ", f"{field.alias or name}: ")
        else:
            lines += [*_comment(field, "    "), *_entry(name, _plain(field.default), "    ")]
    return lines


def _reference_knobs() -> list[str]:
    """List the keys of a reference in comments: one that no table uses would be refused."""
    lines = ["# Each of them has these keys, such as references: {customers: {topic: shop.public.customers, …}}:"]
    for name, field in Reference.model_fields.items():
        entry = f"#   {name}:" if field.is_required() else _entry(name, _plain(field.default), "#   ")[0]
        lines += [*_comment(field, "#   "), entry]
    return lines


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _comment(field: FieldInfo, indent: str, first: str = "") -> list[str]:
    text = first + (field.description or "")
    low = next((limit.ge for limit in field.metadata if hasattr(limit, "ge")), None)
    high = next((limit.le for limit in field.metadata if hasattr(limit, "le")), None)
    if low is not None and high is not None:
        text += f"; {low} to {high}"
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _entry(key: str, value: Any, indent: str) -> list[str]:
    text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return textwrap.indent(text.rstrip(), indent).splitlines()
