"""What the entities endpoints share: the media type they take, and words of the API document."""

from typing import Any

from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, reference
from ingestion_assets.frontdoor.receipt_view import ReceiptView

PLAIN_TEXT = frozenset({"text/plain"})
ORDER = "O|1|100|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|nstructions sleep"
PREFER = header_parameter(
    "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
)  # fmt: skip
KEY = header_parameter(
    "Idempotency-Key", "The same key with the same body gives the same receipt, never a second ingestion.",
    "8e03978e-40d5-43dd-bc93-6894a57f9324", minLength=1, maxLength=255, pattern=r"^[!-~]+$",
)  # fmt: skip
STRING = {"schema": {"type": "string"}}
ENTITY_LINES = reference("EntityLines")
HEADERS = {"X-Receipt-Id": {"description": "Id of the receipt.", **STRING}}
LATER: dict[str, Any] = {
    "model": ReceiptView,
    "description": "On durable storage, the outcome is still to come; the receipt.",
    "headers": {**HEADERS, "Location": {"description": "Address of the receipt.", **STRING}},
}
EVENT = {
    "type": "object",
    "description": "A Server-Sent Event; `data` is a JSON object with `type` (or, of a single line, `status`), `id` a count of lines.",
    "properties": {"data": {"type": "string"}, "id": {"type": "string"}, "event": {"type": "string"}},
}
REFUSED = {
    "description": "Nothing was stored: the lines are wrong, or the request is.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}},
    },
}


def described(
    example: str, *parameters: dict[str, Any], schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the API document says of an endpoint that takes text: of any kind and length, or of a schema."""
    any_text = {"type": "string", "description": "Lines, as `EntityLines` has them."}
    content = {"text/plain": {"schema": schema or any_text, "example": example}}
    return {
        "security": SECURITY,
        "parameters": list(parameters),
        "requestBody": {"required": True, "content": content},
    }
