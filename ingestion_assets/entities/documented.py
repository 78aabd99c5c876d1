"""What the entities endpoints share: the media type they take, and words of the API document."""

from ingestion_assets.entities.flow import NAME
from ingestion_assets.frontdoor.openapi import receipt_to_come, reference

PLAIN_TEXT = frozenset({"text/plain"})
ORDER = "O|1|100|O|123.45|1996-01-02|5-LOW|Clerk#000000951|0|nstructions sleep"
STRING = {"schema": {"type": "string"}}
ENTITY_LINES = reference("EntityLines")
LATER = receipt_to_come(flow=NAME, partition="2026-01-31")
ANY_LINES = {"type": "string", "description": "Lines, as `EntityLines` has them."}
REFUSED = {
    "description": "Nothing was stored: the lines are wrong, or the request is.",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}},
    },
}
