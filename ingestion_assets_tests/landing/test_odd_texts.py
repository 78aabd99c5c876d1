"""Texts that PostgreSQL cannot hold, wherever a flow may say one of its payloads: they are written out, and end nobody's run."""

from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing import drift, finishing
from ingestion_assets.landing.drop_outcomes import LONGEST_REASON, DropOutcome, RecordOutcome, Reject
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.progress import ProgressWriter
from ingestion_assets.landing.record_outcomes import unpack
from ingestion_assets.orchestration.retries import failed
from ingestion_assets_tests.landing.ledger_for_tests import accept_all, done, note, take

ODD, WRITTEN = "é\0\ud83d", "é\\u0000\\ud83d"


def test_what_a_flow_says_of_its_payloads_is_kept_whatever_its_texts(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    odd, other = accept_all(engine, storage, [note(), note(b"[2]")])
    claim = take(engine, "run")
    told = DropOutcome(
        odd,
        {"path": ODD, ODD: [1, {"deep": ODD}], "errors": [{"reason": "x" * 5000, "field": ODD}]},
        records=[RecordOutcome("stored", ODD), RecordOutcome("rejected", code=ODD, reason=ODD)],
        rejects=[Reject(1, "invalid", ODD, ODD + "x" * 5000, b"\0")],
        errors=[{"code": "odd", "reason": ODD}],
    )
    with engine.begin() as connection:
        finishing.finish(connection, claim, [told, *done(claim)[1:]])
    with engine.begin() as connection:
        rows = connection.execute(sa.text("SELECT id, state, result, errors FROM ingestion.drops ORDER BY id")).all()  # fmt: skip
        packed = connection.execute(sa.text("SELECT outcomes FROM ingestion.receipt_records WHERE drop_id = :id"), {"id": odd})  # fmt: skip
        (reject,) = connection.execute(sa.text("SELECT code, reason, record FROM ingestion.rejects WHERE drop_id = :id"), {"id": odd})  # fmt: skip
        assert [row[3:5] for row in unpack(packed.scalar_one())] == [[None, None], [WRITTEN, WRITTEN]]
    assert [(row.id, row.state) for row in rows] == [(odd, "done"), (other, "done")]
    (listed,) = rows[0].result.pop("errors")
    assert rows[0].result == {"path": WRITTEN, WRITTEN: [1, {"deep": WRITTEN}]}
    assert (len(listed["reason"]), listed["field"]) == (LONGEST_REASON, WRITTEN)
    assert rows[0].errors == [{"code": "odd", "reason": WRITTEN}]
    assert (reject.code, reject.reason[:15], len(reject.reason)) == (WRITTEN, f"{WRITTEN}xx", LONGEST_REASON)
    assert reject.record == b"\0"


def test_a_run_gives_back_whatever_it_failed_of(engine: sa.Engine, storage: LocalStorage) -> None:
    (odd,) = accept_all(engine, storage, [note()])
    claim = take(engine, "run")
    error = failed("run", ODD).as_error()
    with engine.begin() as connection:
        finishing.give_back(
            connection, claim.claim_id, error=error, transient=False, delay_s=0, max_attempts=1
        )
        reasons = connection.scalars(sa.text("SELECT reason FROM ingestion.rejects WHERE drop_id = :id"), {"id": odd})  # fmt: skip
        assert reasons.all() == [f"run run failed: {WRITTEN}"]


def test_progress_and_drift_take_any_text(engine: sa.Engine, storage: LocalStorage) -> None:
    (odd,) = accept_all(engine, storage, [note()])
    ProgressWriter(engine, take(engine, "run").claim_id).note(odd, {"at": ODD})
    assert drift.observe(engine, flow="notes", drop_id=UUID(int=odd.int), paths={ODD: [ODD]}) == 1
    with engine.begin() as connection:
        states = connection.scalars(sa.text("SELECT state FROM ingestion.progress WHERE drop_id = :id"), {"id": odd})  # fmt: skip
        assert states.all() == [{"at": WRITTEN}]
        seen = connection.execute(sa.text("SELECT version, path FROM ingestion.format_drift WHERE first_drop = :id"), {"id": odd})  # fmt: skip
        assert [tuple(row) for row in seen] == [(WRITTEN, WRITTEN)]
