"""A payload that is too much for a worker's memory is taken alone once, then says how much it took."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drops import Lane
from ingestion_assets_tests.orchestration.conftest import Runs
from ingestion_assets_tests.orchestration.one_payload import land_one
from ingestion_assets_tests.servers import wait_until

LANE = Lane("planned", "2026-01-31", "2026-01-31")
LITTLE = 400 * 2**20
GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory."""
    first = GROUPS / "memory" if (GROUPS / "memory").is_dir() else GROUPS
    made = first / f"ingestion-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if first.name == "memory" else "memory.max"
    try:
        made.mkdir()
        (made / limit).write_text(str(LITTLE), encoding="ascii")
    except OSError as error:
        if made.is_dir():
            made.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    yield made
    wait_until(
        lambda: not (made / "cgroup.procs").read_text(encoding="ascii"),
        seconds=20,
        what="the group to be empty",
    )
    made.rmdir()


def _launch(runs: Runs, engine: sa.Engine, *, attempts: int = 0, **attributes: str) -> str:
    with engine.begin() as connection:
        land_one(connection, LANE, **attributes)
        connection.execute(sa.text("UPDATE ingestion.drops SET attempts = :attempts"), {"attempts": attempts})
        (asked,) = dispatch.request(connection, [LANE])
    return runs.launch("planned", tags=asked.tags())


def _end(runs: Runs, engine: sa.Engine, run_id: str) -> sa.Row[tuple[str, int, list[dict[str, str]]]]:
    runs.wait_for(run_id, DagsterRunStatus.FAILURE, seconds=40)

    def drop() -> sa.Row[tuple[str, int, list[dict[str, str]]]]:
        with engine.connect() as connection:
            return connection.execute(sa.text("SELECT state, attempts, errors FROM ingestion.drops")).one()

    wait_until(lambda: drop().state in {"landed", "failed"}, seconds=10, what="the payload to go back")
    return drop()


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("attempts", "state"), [(0, "landed"), (2, "failed")])
def test_a_stage_that_asks_for_too_much_gives_its_payloads_back_to_be_taken_alone(
    runs: Runs, engine: sa.Engine, attempts: int, state: str
) -> None:
    drop = _end(runs, engine, _launch(runs, engine, plan="exceed", attempts=attempts))
    assert drop.state == state
    assert drop.attempts >= 2, "the next time it is taken alone"
    assert drop.errors[0]["code"] == "out_of_memory"
    assert "MB at its peak" in drop.errors[0]["reason"]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("attempts", "state"), [(0, "landed"), (2, "failed")])
def test_a_process_that_the_system_killed_for_its_memory_tells_what_it_held(
    runs: Runs, engine: sa.Engine, group: Path, attempts: int, state: str
) -> None:
    drop = _end(runs, engine, _launch(runs, engine, plan="grow", group=str(group), attempts=attempts))
    assert drop.state == state
    assert drop.attempts >= 2, "the next time it is taken alone"
    assert drop.errors[0]["code"] == "out_of_memory"
    assert "MB of memory" in drop.errors[0]["reason"]


@pytest.mark.usefixtures("worker")
def test_a_process_that_was_killed_for_another_reason_tells_it_too(runs: Runs, engine: sa.Engine) -> None:
    run_id, pid = runs.launch_sleeping()
    beaten = sa.text(
        "SELECT beat_at - started_at > interval '5 s' FROM ingestion.run_heartbeats WHERE run_id = :id"
    )

    def was_looked_at() -> bool:
        """For longer than a kill for memory, as the tests before make, counts as one of now."""
        with engine.connect() as connection:
            return bool(connection.scalar(beaten, {"id": run_id}))

    wait_until(was_looked_at, seconds=30, what="its worker to look at it for some time")
    os.kill(pid, signal.SIGKILL)
    runs.wait_for(run_id, DagsterRunStatus.FAILURE)
    assert "it was seen to hold" in runs.messages(run_id)
