"""A dispatched run that is cancelled before it claims anything leaves its lane alone for a while."""

import sqlalchemy as sa

from ingestion_assets.landing import dispatch, pauses
from ingestion_assets.landing.drops import Lane
from ingestion_assets.orchestration.dead_runs import lose_dead_dispatches
from ingestion_assets_tests.orchestration.conftest import Runs
from ingestion_assets_tests.orchestration.one_payload import land_one

LANE = Lane("notes", "2026-01-31", "2026-01-31")


def test_a_run_cancelled_before_it_starts_pauses_what_it_would_have_claimed(
    runs: Runs, engine: sa.Engine
) -> None:
    with engine.begin() as connection:
        land_one(connection, LANE)
        (asked,) = dispatch.request(connection, [LANE])
    run = runs.instance.get_run_by_id(runs.create("chain", tags=asked.tags()))
    assert run is not None
    assert lose_dead_dispatches(runs.instance, engine) == 0, "it may still start"
    runs.instance.report_run_canceled(run)
    assert lose_dead_dispatches(runs.instance, engine) == 1
    with engine.connect() as connection:
        (waiting,) = pauses.waiting(connection)
        assert dispatch.lane_states(connection, flows=[LANE.flow]) == []
    assert waiting.payloads == 1
    assert f"run {run.run_id} was cancelled" in (waiting.reason or "")
