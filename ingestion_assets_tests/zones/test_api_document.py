"""The address that each drop zone has in the OpenAPI document, against the server: generated requests give no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs 220 cases of each operation and kind.
"""

import pytest

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.drops import DropOutcome, RecordOutcome
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.generated import MODES, try_operations
from ingestion_assets_tests.zones.conftest import Publish

RECORD = {
    "type": "object",
    "required": ["id", "amount"],
    "properties": {
        "id": {"type": "string", "maxLength": 20},
        "amount": {"type": "number"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "$defs": {"line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}},
}
ZONE = "/api/v1/drops/till"


def _stored(drop: DropRef) -> DropOutcome:
    counts = {"received": drop.records, "stored": drop.records}
    others = dict.fromkeys(("updated", "duplicate", "superseded", "rejected", "errors_not_listed"), 0)
    return DropOutcome(drop.id, {**counts, **others, "errors": []}, [RecordOutcome("stored")] * drop.records)


@pytest.mark.parametrize("mode", MODES)
def test_answers_of_a_zones_own_address_are_documented(front: Front, publish: Publish, mode: str) -> None:
    front.runs.outcome = _stored
    publish("till", schema=RECORD, key=("id",))
    answers = try_operations(
        front.url, paths=(ZONE, "/api/v1/zones"), mode=mode, known={"zone": "till"}, at_least=440
    )
    taken = {answer for answer in answers if answer.startswith(f"POST {ZONE}")}
    assert {f"POST {ZONE} 200", f"POST {ZONE} 202"} & taken if mode == "valid" else taken
