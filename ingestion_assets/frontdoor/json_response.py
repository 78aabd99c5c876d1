"""Answers in JSON, as msgspec writes it (ids and times included)."""

import msgspec
from starlette.responses import Response

encode = msgspec.json.Encoder().encode


def json_response(body: object, status: int = 200, *, headers: dict[str, str] | None = None) -> Response:
    """`body` as an answer."""
    return Response(encode(body), status, media_type="application/json", headers=headers)
