"""Real answers against the API document: they fit its schema, and say nothing that it does not describe."""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema

BOTH_WAYS = ("anyOf", "oneOf", "allOf")


def assert_documented(answer: httpx.Response, *, path: str | None = None) -> None:
    """The answer is as the document says of its address, `path` where that holds parameters, method and status."""
    document = httpx.get(
        f"{answer.request.url.copy_with(path='/openapi.json', query=None)}", timeout=30
    ).json()
    operation = document["paths"][path or answer.request.url.path][answer.request.method.lower()]
    described = operation["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][kind]["schema"]
    jsonschema.validate(answer.json(), {**schema, "components": document["components"]})
    extra = list(_undescribed(answer.json(), [schema], document))
    assert not extra, f"{', '.join(extra)} of {answer.text[:2000]}"


def _undescribed(
    value: Any, schemas: list[Mapping[str, Any]], document: Mapping[str, Any], at: str = ""
) -> Iterator[str]:
    """Places of fields that none of the schemas describes."""
    known = [one for schema in schemas for one in _alternatives(schema, document)]
    if isinstance(value, list):
        for one in value:
            yield from _undescribed(
                one, [schema["items"] for schema in known if "items" in schema], document, f"{at}[]"
            )
    if isinstance(value, dict) and not any(schema.get("additionalProperties") for schema in known):
        for name, one in value.items():
            of = [schema["properties"][name] for schema in known if name in schema.get("properties", {})]
            if of:
                yield from _undescribed(one, of, document, f"{at}.{name}")
            else:
                yield f"{at}.{name}"


def _alternatives(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for word in BOTH_WAYS:
        for one in schema.get(word, ()):
            yield from _alternatives(one, document)
