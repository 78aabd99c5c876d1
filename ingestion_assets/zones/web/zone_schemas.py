"""Zones in the API document: the address of each, with the schema of its records."""

import json
from collections.abc import Mapping
from typing import Any

from ingestion_assets.frontdoor.openapi import reference
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.zone_flow import CSV, JSON, LINES

GENERIC = "/api/v1/drops/{zone}"


def schemas(documents: Mapping[str, ZoneDocument]) -> dict[str, Any]:
    """The schema of a record of each zone. References within one point to its new place."""
    return {
        f"{name}_record": _placed(document.schema, f"{name}_record") for name, document in documents.items()
    }


def paths_of(documents: Mapping[str, ZoneDocument], paths: Mapping[str, Any]) -> dict[str, Any]:
    """The address of each zone, as that of all zones is described."""
    operation = paths[GENERIC]["post"]
    return {
        f"/api/v1/drops/{name}": {"post": _operation(document, operation)}
        for name, document in documents.items()
    }


def _operation(document: ZoneDocument, generic: Mapping[str, Any]) -> dict[str, Any]:
    record = reference(f"{document.name}_record")
    text = {"type": "string"}
    of_json = (
        {"oneOf": [record, {"type": "array", "minItems": 1, "items": record}]}
        if document.path in {"$", "$[*]"}
        else {}
    )
    contents = {JSON: {"schema": of_json}, LINES: {"schema": text}, CSV: {"schema": text}}
    return {
        **generic,
        "operationId": f"dropRecordsInto_{document.name}",
        "summary": f"Send records to {document.name}",
        "parameters": [one for one in generic["parameters"] if one["name"] != "zone"],
        "requestBody": {"required": True, "content": contents},
    }


def _placed(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    place = f'"$ref": "#/components/schemas/{name}'
    text = json.dumps(schema).replace('"$ref": "#/', f"{place}/").replace('"$ref": "#"', f'{place}"')
    return json.loads(text)
