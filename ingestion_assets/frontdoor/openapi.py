"""How endpoints and their answers are described in the OpenAPI document."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from ingestion_assets.frontdoor import request_headers
from ingestion_assets.frontdoor.problems import MEDIA_TYPE, ErrorItem, ProblemDetails
from ingestion_assets.frontdoor.receipt_view import ReceiptView

MorePaths = Callable[[Mapping[str, Any]], Mapping[str, Any]]
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

_SECURITY = [{"ApiKey": []}, {"Bearer": []}]


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


PREFER = header_parameter(
    "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
)  # fmt: skip
IDEMPOTENCY_KEY = header_parameter(
    "Idempotency-Key", "The same key with the same body and options gives the same receipt, never a second ingestion.",
    "8e03978e-40d5-43dd-bc93-6894a57f9324", pattern=request_headers.IDEMPOTENCY_KEY,
)  # fmt: skip
_RECEIPT_HEADERS = {
    "X-Receipt-Id": {"description": "Id of the receipt.", **_TEXT},
    "Preference-Applied": {"description": "What of `Prefer` was followed.", **_TEXT},
    "Idempotent-Replayed": {"description": "`true` if this key and body were accepted before.", **_TEXT},
}
_RECEIPT = "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"


def outcome(description: str, **more: Any) -> dict[str, Any]:
    """A `responses` entry for what became of a payload: `description`, the headers of such answers, and `more`."""
    return {"description": description, "headers": _RECEIPT_HEADERS, **more}


def receipt_to_come(
    *, flow: str, partition: str, subject: str | None = None, or_else: str = ""
) -> dict[str, Any]:
    """The `responses` entry of 202. `or_else`: what it may mean beside that the outcome is still to come."""
    landed = {
        "id": _RECEIPT, "state": "landed", "flow": flow, "partition": partition, "subject": subject, "records": 1,
        "size_bytes": 281, "received_at": "2026-01-31T09:30:01Z", "url": f"/api/v1/receipts/{_RECEIPT}", "registered": False,
    }  # fmt: skip
    return {
        "model": ReceiptView,
        "description": f"On durable storage, the outcome is still to come{or_else}; the receipt.",
        "headers": {**_RECEIPT_HEADERS, "Location": {"description": "Address of the receipt.", **_TEXT}},
        "content": {"application/json": {"example": landed}},
    }


def events(description: str, data: str, **more: Any) -> dict[str, Any]:
    """A `responses` entry for Server-Sent Events; `data` says what they carry."""
    texts = {name: {"type": "string"} for name in ("data", "id", "event")}
    schema = {"type": "object", "description": f"A Server-Sent Event; {data}", "properties": texts}
    return {"description": description, "content": {"text/event-stream": {"schema": schema}}, **more}


def secured(*parameters: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of an endpoint that asks for a key, with the headers that it reads itself."""
    return {"security": _SECURITY} | ({"parameters": [*parameters]} if parameters else {})


def takes(
    schema: dict[str, Any], *parameters: dict[str, Any], example: Any = None, media_type: str = "application/json"
) -> dict[str, Any]:  # fmt: skip
    """As `secured`, of an endpoint that takes a body of this schema."""
    content = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return secured(*parameters) | {"requestBody": {"required": True, "content": {media_type: content}}}


def reference(name: str) -> dict[str, Any]:
    """A schema that is another, by its name in the document."""
    return {"$ref": _REFERENCE.format(model=name)}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a request body; `describe` gives it its place in the document, with what it refers to."""
    return model.model_json_schema(ref_template=_REFERENCE)


def describe(app: FastAPI, schemas: Mapping[str, Any], paths: Sequence[MorePaths] = ()) -> dict[str, Any]:
    """The OpenAPI 3.1 document, made once but for these `schemas`, and the paths that `paths` make of those there are, which may change."""
    document = _described(app)
    components = document["components"]
    more = {path: item for make in paths for path, item in make(document["paths"]).items()}
    return {
        **document,
        "paths": {**document["paths"], **more},
        "components": {**components, "schemas": {**components["schemas"], **schemas}},
    }


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
            "signature": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Hub-Signature-256",
                "description": "A webhook's: `sha256=` and the HMAC of the body by the secret that both sides know.",
            },
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
