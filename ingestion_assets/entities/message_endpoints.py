"""Single messages and batches over HTTP: answered with what became of them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.flow import NAME, lines_in
from ingestion_assets.entities.line_schemas import (
    ENTITY_LINES,
    LATER,
    ORDER,
    PLAIN_TEXT,
    refused,
)
from ingestion_assets.entities.lines import GLUED, Line, Row, read_line, records
from ingestion_assets.entities.schema import BatchAnswer, MessageAnswer, MessageError
from ingestion_assets.frontdoor.answers import outcome_response
from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import IDEMPOTENCY_KEY, PREFER, keyed_errors, outcome, takes
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receiving import Arrival, new_drop, take_in
from ingestion_assets.landing.drops import NewDrop, Receipt

router = APIRouter(tags=[NAME])


@router.post(
    "/ingest/message",
    name="ingest_entity_message",
    summary="Ingest one message",
    description="One line, `PREFIX|field|field…`. Answers when it is in its table, or says why it is not.",
    response_model=MessageAnswer,
    responses={
        **keyed_errors(408, 413, 415),
        200: outcome("Stored."),
        202: LATER,
        400: refused(MessageError),
    },
    openapi_extra=takes(ENTITY_LINES, PREFER, IDEMPOTENCY_KEY, example=ORDER, media_type="text/plain"),
)
async def ingest_message(request: Request) -> Response:
    door = front_door(request)
    sent = b""

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        nonlocal sent
        if len(lines := list(records(body))) != 1:
            raise _NotOneMessageError(lines)
        sent = lines[0].raw
        return _drop(request, arrival, body, endpoint="message")

    def answer(receipt: Receipt, headers: dict[str, str]) -> Response:
        result = receipt.result or {}
        if "status" not in result:
            return outcome_response(door, receipt, headers)
        if result["status"] in {"success", "superseded"}:
            entity, identity = _identity(sent)
            body: dict[str, Any] = {
                "status": result["status"], "entity": entity, "id": identity, "timestamp": receipt.finished_at or receipt.received_at,
            }  # fmt: skip
            if result["status"] == "superseded":
                body["superseded_by"] = next(iter(result["superseded_by"]))
            return json_response(body, headers=headers)
        error = (result.get("errors") or [{}])[0]
        body = _refused(error.get("message") or result.get("message"), sent, entity=error.get("entity"))
        where = {key: error[key] for key in ("field", "code") if key in error}
        return json_response(body | where, 400, headers=headers)

    try:
        return await take_in(
            request, flow=NAME, scopes=(NAME,), media_types=PLAIN_TEXT, make_drop=make, answer=answer
        )
    except _NotOneMessageError as error:
        return json_response(_refused(str(error), error.line), 400)


@router.post(
    "/ingest/batch",
    name="ingest_entity_batch",
    summary="Ingest a batch of messages",
    description=(
        "Lines of any entities, in any order; rows may reference each other and what was accepted before. Lines that cannot be "
        "stored are listed and kept as rejects, the others are stored. Bodies may be compressed (gzip, zstd)."
    ),
    response_model=BatchAnswer,
    responses={
        **keyed_errors(408, 413, 415),
        200: outcome("All stored."),
        202: LATER,
        207: outcome("Some stored; `errors` lists the others.", model=BatchAnswer),
        400: refused(BatchAnswer),
    },
    openapi_extra=takes(ENTITY_LINES, PREFER, IDEMPOTENCY_KEY, example=ORDER + "\n", media_type="text/plain"),
)
async def ingest_batch(
    request: Request,
    atomic: Annotated[bool, Query(description="All or nothing: one error, and no line is stored.")] = False,
    max_errors: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="More errors than this, and no line is stored.")
    ] = None,
) -> Response:
    door = front_door(request)
    limit = 0 if atomic else max_errors

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        if next(records(body), None) is None:
            glued = GLUED if b"\n" not in body and b"|" in body else ""
            raise Problem(400, f"The body has no message: every line is blank or a comment{glued}.")
        more = {} if limit is None else {"max_errors": str(limit)}
        return _drop(request, arrival, body, endpoint="batch", **more)

    def answer(receipt: Receipt, headers: dict[str, str]) -> Response:
        result = receipt.result or {}
        if "status" not in result:
            return outcome_response(door, receipt, headers)
        status = {"success": 200, "superseded": 200, "partial": 207}.get(result["status"], 400)
        return json_response(result, status, headers=headers)

    return await take_in(
        request, flow=NAME, scopes=(NAME,), media_types=PLAIN_TEXT, make_drop=make, answer=answer
    )


class _NotOneMessageError(Exception):
    """A body with no line, or with more than one: `line` is the first that is too many."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__(f"The body must be one message, not {len(lines)}; send several to /ingest/batch.")
        self.line = lines[1].raw if lines else None


def _refused(message: str | None, line: bytes | None, *, entity: str | None = None) -> dict[str, Any]:
    text = None if line is None else line.decode(errors="replace")
    return {"status": "error", "message": message, "entity": entity, "line": text}


def _drop(request: Request, arrival: Arrival, body: bytes, *, endpoint: str, **attributes: str) -> NewDrop:
    if arrival.idempotency_key is not None:
        # The same body with another limit is another request; no client's key has a tab.
        key = "\t".join([arrival.idempotency_key, *(f"{name}={value}" for name, value in attributes.items())])
        arrival = msgspec.structs.replace(arrival, idempotency_key=key)
    return new_drop(
        request,
        arrival,
        body,
        flow=NAME,
        records=lines_in(body),
        attributes={"endpoint": endpoint, **attributes},
    )


def _identity(raw: bytes) -> tuple[str | None, Any]:
    read = read_line(defined_entities(), raw)
    if not isinstance(read, Row):
        return None, None
    entity = read.entity
    key = {
        name: int(value)
        if value is not None and entity.field(name).type in {"smallint", "integer", "bigint"}
        else value
        for name, value in zip(entity.names, read.values, strict=True)
        if name in entity.primary_key
    }
    return entity.entity, next(iter(key.values())) if len(key) == 1 else key
