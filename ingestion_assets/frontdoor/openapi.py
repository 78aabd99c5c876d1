"""How answers are described in the OpenAPI document, and a page that shows the document without outside help."""

from collections.abc import Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse

from ingestion_assets.frontdoor.problems import MEDIA_TYPE, ErrorItem, ProblemDetails

_REFERENCE = "#/components/schemas/{model}"
_WORDS = {
    400: ("Bad Request", "The request body is not well-formed JSON (invalid character (byte 7))."),
    401: ("Unauthorized", "An API key is needed: send it as `X-API-Key` or as `Authorization: Bearer`."),
    403: ("Forbidden", "This API key lacks the scope read."),
    404: ("Not Found", "There is no such receipt."),
    405: ("Method Not Allowed", "This address does not take that method."),
    408: ("Request Timeout", "The request body did not arrive within 30 s."),
    409: ("Conflict", "The request does not fit the state of what it is about."),
    413: (
        "Content Too Large",
        "The request body is larger than 67108864 bytes sent; send it in smaller parts.",
    ),
    415: ("Unsupported Media Type", "Content-Type must be application/json."),
    422: ("Unprocessable Content", "The request is not valid."),
    429: ("Too Many Requests", "The rate limit of this API key is used up; try again in 12 s."),
    500: ("Internal Server Error", "Something went wrong on the server; the request id finds it in the log."),
    503: ("Service Unavailable", "postgresql is not reachable; try again later."),
}
_TEXT = {"schema": {"type": "string"}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "The scheme to use.", **_TEXT}},
    415: {
        "Accept-Encoding": {"description": "Content codings that are taken, where that was wrong.", **_TEXT}
    },
    429: {
        "Retry-After": {"description": "Seconds until another try makes sense.", **_TEXT},
        "RateLimit": {"description": "What is left (IETF draft).", **_TEXT},
        "RateLimit-Policy": {"description": "The limits (IETF draft).", **_TEXT},
    },
    503: {"Retry-After": {"description": "Seconds until another try makes sense.", **_TEXT}},
}

SECURITY = [{"ApiKey": []}, {"Bearer": []}]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for these problem statuses; 422 (an unknown parameter) and 500 come with every route."""
    return {status: _answer(status) for status in sorted({*statuses, 422, 500})}


def keyed_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """As `errors`, for an endpoint that asks for a key and reads the ledger."""
    return errors(401, 403, 429, 503, *statuses)


def _answer(status: int) -> dict[str, Any]:
    title, detail = _WORDS[status]
    example: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if status == 422:
        example["errors"] = [
            {"loc": ["query", "limit"], "msg": "Input should be a valid integer", "type": "int_parsing"}
        ]
    answer: dict[str, Any] = {
        "description": title,
        "content": {
            MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="ProblemDetails")}, "example": example}
        },
    }
    if status in _HEADERS:
        answer["headers"] = _HEADERS[status]
    return answer


def header_parameter(name: str, description: str, example: str, **schema: Any) -> dict[str, Any]:
    """An optional request header, for endpoints that read it themselves."""
    return {
        "name": name, "in": "header", "required": False, "description": description,
        "schema": {"type": "string", **schema}, "example": example,
    }  # fmt: skip


def reference(name: str) -> dict[str, Any]:
    """A schema that is another, by its name in the document."""
    return {"$ref": _REFERENCE.format(model=name)}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a request body; `describe` gives it its place in the document, with what it refers to."""
    return model.model_json_schema(ref_template=_REFERENCE)


def describe(app: FastAPI, more: Mapping[str, Any]) -> dict[str, Any]:
    """The OpenAPI 3.1 document, made once but for the schemas `more`, which may change."""
    document = _described(app)
    components = document["components"]
    return {**document, "components": {**components, "schemas": {**components["schemas"], **more}}}


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for model in (ErrorItem, ProblemDetails):
            schema = model.model_json_schema(ref_template=_REFERENCE)
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        for operation in [one for path in document["paths"].values() for one in path.values()]:
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _name_schema(content, schemas)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        components["securitySchemes"] = {
            "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "Bearer": {"type": "http", "scheme": "bearer"},
        }
        app.openapi_schema = document
    return app.openapi_schema


def _name_schema(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move a body's schema, if it is a model's, and what it refers to into the document's `schemas`."""
    schema = content["schema"]
    if name := schema.get("title"):
        schemas.update(schema.get("$defs", {}))
        schemas[name] = {key: value for key, value in schema.items() if key != "$defs"}
        content["schema"] = reference(name)


def docs_page(document: dict[str, Any]) -> HTMLResponse:
    """The document as one plain page: no scripts, nothing fetched from elsewhere."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style><main>",
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>",
        f"<p>{escape(document['info'].get('description', ''))}</p>",
        "<p>Machine-readable: <a href='/openapi.json'>/openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(path, method, operation))
    return HTMLResponse("".join(parts) + "</main></html>")


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td>{escape(str(status))}<td>{escape(answer.get('description', ''))}<td>{escape(', '.join(answer.get('content', {})))}"
        for status, answer in sorted(operation.get("responses", {}).items())
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}"
        f"</summary><p>{escape(operation.get('description', ''))}</p>"
        + (f"<h4>Parameters</h4><table>{rows}</table>" if rows else "")
        + f"<h4>Answers</h4><table>{answers}</table></details>"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1b1f24;background:#fff}main{max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}details{border-top:1px solid #d0d7de;padding:.6rem 0}summary{cursor:pointer}b{display:inline-block;"
    "min-width:4.5rem}td{padding:.15rem 1rem .15rem 0;vertical-align:top}code{background:#f3f4f6;padding:.1rem .3rem}"
)
