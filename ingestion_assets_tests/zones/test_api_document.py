"""The address that each drop zone has in the OpenAPI document, against the server: generated requests give no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs 220 cases of each operation and kind.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.clock import take_sample
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.tables import drops
from ingestion_assets.zones import kept
from ingestion_assets.zones.batch import Batch, Outcome
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.work import ZoneWork
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.documented import assert_documented
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


def _refuse_the_second(_batch: Batch) -> Iterator[Outcome]:
    yield Outcome.reject(1, "no_page", "a page begins with a slash")


def test_what_a_run_says_of_rejects_is_as_documented(front: Front, publish: Publish, tmp_path: Path) -> None:
    """By a run that reads the payload and hands its records over: the codes are those that are really given."""
    (tmp_path / "record.json").write_text(json.dumps(RECORD), encoding="utf-8")

    def really(drop: DropRef) -> DropOutcome:
        with front.engine.connect() as connection:
            clock = take_sample(connection)
            held = connection.execute(sa.select(drops.c.claim).where(drops.c.id == drop.id)).scalar_one()
        work = ZoneWork(
            zone="till", claim=Claim(held, held, (), (drop,), clock), storage=open_storage(front.settings),
            engine=front.engine, records=record_type("record.json", folder=tmp_path), max_bytes=2**20,
            is_transient=lambda _: False, function=_refuse_the_second,
        )  # fmt: skip
        return work.outcomes()[0]

    publish("till", schema=RECORD, key=("id",))
    kept.prepare(front.engine)
    front.runs.outcome = really
    with front.client() as client:
        answer = client.post(ZONE, json=[{"id": "1", "amount": 1}, {"id": "2", "amount": 2}, {"id": "3"}])
    assert answer.status_code == 200, answer.text
    assert [error["code"] for error in answer.json()["errors"]] == ["no_page", "missing_field"]
    assert_documented(answer)
    assert_documented(answer, path="/api/v1/drops/{zone}")
