"""The chart's values.schema.json: its own keys closed, and below `settings` the program's own schema."""

from __future__ import annotations

import json
import sys
from typing import Any

from stream.settings import json_schema

TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 1}
MAPPING: dict[str, Any] = {"type": "object"}
STRINGS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}


def values_schema() -> dict[str, Any]:
    settings = json_schema()
    definitions = settings.pop("$defs")
    settings.pop("$schema")
    probe = closed(dict.fromkeys(("periodSeconds", "timeoutSeconds", "failureThreshold", "initialDelaySeconds"), WHOLE))
    secret = closed(
        {
            "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$"},
            "existingSecret": {"type": "string", "minLength": 1},
        },
        "name",
        "existingSecret",
    )
    image = closed(
        {
            "repository": {"type": "string", "minLength": 1},
            "tag": TEXT,
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        },
        "repository",
    )
    chart = closed(
        {
            "global": MAPPING,
            "image": image,
            "imagePullSecrets": OBJECTS,
            "replicas": {"type": "integer", "minimum": 0, "maximum": 100},
            "settings": settings,
            "secrets": {"type": "array", "items": secret},
            "terminationGracePeriodSeconds": WHOLE,
            "service": closed({"port": {"type": "integer", "minimum": 1, "maximum": 65535}, "annotations": STRINGS}),
            "serviceAccount": closed({"create": {"type": "boolean"}, "name": TEXT, "annotations": STRINGS}),
            "resources": MAPPING,
            "livenessProbe": probe,
            "readinessProbe": probe,
            "podAnnotations": STRINGS,
            "podLabels": STRINGS,
            "nodeSelector": STRINGS,
            "tolerations": OBJECTS,
            "affinity": MAPPING,
            "topologySpreadConstraints": OBJECTS,
            "priorityClassName": TEXT,
            "extraEnv": OBJECTS,
            "extraVolumes": OBJECTS,
            "extraVolumeMounts": OBJECTS,
        },
        "settings",
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **chart, "$defs": definitions}


def text() -> str:
    return json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
