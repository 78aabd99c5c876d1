"""Runs of one queue hold up nobody else's, dispatched ones go before backfills, and none waits where its time to start runs out."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Event, Thread

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.instance import InstanceRef
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.dispatch import DISPATCHED_FIRST
from ingestion_assets.landing.flows import Runs
from ingestion_assets.landing.run_tags import DISPATCH_TAG, FLOW_TAG
from ingestion_assets.orchestration.queues import (
    CELERY_QUEUE_TAG,
    ELSEWHERE_TAG,
    GPU_QUEUE,
    QUEUE_TAG,
    UNHURRIED_TAG,
    job_tags,
    limits,
    named_queue,
    queue_of,
    tags_at_submission,
)
from ingestion_assets.settings import Settings
from ingestion_assets_tests.orchestration.conftest import Runs as RunsOfTests
from ingestion_assets_tests.orchestration.jobs_for_tests import PLANNED

DAY = {"dagster/partition": "2026-01-02"}
DISPATCHED = DAY | {DISPATCH_TAG: "landed", "dagster/priority": str(DISPATCHED_FIRST)}
GOES_ON = {DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.SUCCESS}


def to_be_started(runs: RunsOfTests) -> list[str]:
    """The ids of the queued runs that the daemon would start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    daemon._logger = logging.getLogger()
    return [
        run.run_id
        for run in daemon._get_runs_to_dequeue(runs.instance, runs.instance.get_concurrency_config(), None)
    ]


@pytest.fixture
def nothing_else(runs: RunsOfTests) -> None:
    """Runs that other tests left are over."""
    for run in runs.instance.get_runs():
        if not run.is_finished:
            runs.instance.report_run_canceled(run)


@pytest.mark.usefixtures("worker", "nothing_else")
def test_runs_that_wait_for_a_gpu_hold_up_nobody_else(runs: RunsOfTests) -> None:
    """There is no worker for them here: one waits in the broker, the others in Dagster's queue, where no time runs out."""
    waiting = [runs.create("chain", tags=DISPATCHED | {QUEUE_TAG: GPU_QUEUE}) for _ in range(10)]
    states = [runs.submit(run_id) for run_id in waiting]
    assert states == [DagsterRunStatus.STARTING, *[DagsterRunStatus.QUEUED] * 9]
    assert to_be_started(runs) == []
    message = runs.create("chain", tags=DISPATCHED)
    assert runs.submit(message) in GOES_ON
    runs.wait_for(message, DagsterRunStatus.SUCCESS)
    first = runs.instance.get_run_by_id(waiting[0])
    assert first is not None
    runs.instance.report_run_canceled(first)
    assert to_be_started(runs) == [waiting[1]]


@pytest.mark.usefixtures("worker", "nothing_else")
def test_a_queued_backfill_leaves_a_place_to_what_is_dispatched(runs: RunsOfTests) -> None:
    backfill = [runs.create("chain", tags=DAY | {"dagster/backfill": "b"}) for _ in range(40)]
    assert {runs.submit(run_id) for run_id in backfill} == {DagsterRunStatus.QUEUED}
    assert to_be_started(runs) == backfill[:1], "of two places one"
    runs.instance.launch_run(backfill[0], None)  # pyright: ignore[reportArgumentType]
    message = runs.create("chain", tags=DISPATCHED)
    assert runs.submit(message) in GOES_ON
    runs.wait_for(message, DagsterRunStatus.SUCCESS)
    runs.wait_for(backfill[0], DagsterRunStatus.SUCCESS)
    taken = [runs.launch_sleeping()[0] for _ in range(2)]
    late = runs.create("chain", tags=DISPATCHED)
    assert runs.submit(late) == DagsterRunStatus.QUEUED
    assert runs.instance.run_launcher.terminate(taken[0])
    runs.wait_for(taken[0], DagsterRunStatus.CANCELED)
    assert to_be_started(runs) == [late], "before what was queued earlier"
    assert runs.instance.run_launcher.terminate(taken[1])
    runs.wait_for(taken[1], DagsterRunStatus.CANCELED)
    assert to_be_started(runs) == [late, backfill[1]]


@pytest.mark.usefixtures("worker", "nothing_else")
def test_a_message_behind_a_backfill_of_forty_days_takes_its_usual_time(runs: RunsOfTests) -> None:
    """In first-in-first-out order it took the time of forty runs. `benchmarks/backfill.py` measures it on a whole stack."""

    def seconds_of_a_message() -> float:
        run_id = runs.create("chain", tags=DISPATCHED)
        started = time.monotonic()
        runs.submit(run_id)
        runs.wait_for(run_id, DagsterRunStatus.SUCCESS, seconds=120)
        return time.monotonic() - started

    usual = median([seconds_of_a_message() for _ in range(5)])
    backfill = [runs.create("chain", tags=DAY | {"dagster/backfill": "b"}) for _ in range(40)]
    for run_id in backfill:
        runs.submit(run_id)
    enough = Event()

    def start_what_may_start() -> None:
        while not enough.wait(0.1):
            for run_id in to_be_started(runs):
                runs.instance.launch_run(run_id, None)  # pyright: ignore[reportArgumentType]

    daemon = Thread(target=start_what_may_start)
    daemon.start()
    try:
        behind = median([seconds_of_a_message() for _ in range(5)])
        left = sum(runs.status(run_id) == DagsterRunStatus.QUEUED for run_id in backfill)
    finally:
        enough.set()
        daemon.join()
    assert left > 10, "the backfill was still waiting"
    assert behind < 3 * usual, (behind, usual)


def test_who_submits_a_run_says_nothing_of_queues(runs: RunsOfTests) -> None:
    run_id = runs.create("chain", tags=DAY)
    runs.submit(run_id)
    run = runs.instance.get_run_by_id(run_id)
    assert run is not None
    assert (run.tags[QUEUE_TAG], run.tags[UNHURRIED_TAG]) == ("default", "default")
    assert tags_at_submission({QUEUE_TAG: "gpu"}, dispatched=True) == {}
    assert tags_at_submission({QUEUE_TAG: "gpu", UNHURRIED_TAG: "default"}, dispatched=False) == {
        UNHURRIED_TAG: "gpu"
    }


def test_the_tag_of_dagster_celery_names_the_queue_too() -> None:
    assert CELERY_QUEUE_TAG == DAGSTER_CELERY_QUEUE_TAG
    assert tags_at_submission({CELERY_QUEUE_TAG: "gpu"}, dispatched=True) == {QUEUE_TAG: "gpu"}
    assert queue_of({CELERY_QUEUE_TAG: "gpu"}) == "gpu"
    assert queue_of({CELERY_QUEUE_TAG: "gpu", QUEUE_TAG: "batch"}) == "batch"
    assert (named_queue({}), queue_of({})) == (None, "default")


def test_the_flow_says_how_its_runs_are_executed() -> None:
    runs = Runs(queue="gpu", at_once=1, longest_s=6 * 3600, priority=-1)
    tags = job_tags(replace(PLANNED, runs=runs))
    assert tags.pop("dagster-k8s/config").count("nvidia.com/gpu") == 1
    assert tags == {
        FLOW_TAG: "planned", QUEUE_TAG: "gpu", "dagster/max_runtime": "21600", "dagster/priority": "-1"
    }  # fmt: skip
    with pytest.raises(ValueError, match="names the queue attic; there are default, gpu, batch"):
        job_tags(replace(PLANNED, runs=Runs(queue="attic")))
    for wrong in ({"longest_s": 25 * 3600}, {"at_once": 0}):
        with pytest.raises(ValueError, match=r"at most|at least"):
            Runs(**wrong)


def test_backfills_of_a_flow_are_tagged_like_its_dispatched_runs() -> None:
    from ingestion_assets.definitions import definitions  # noqa: PLC0415

    repository: dg.RepositoryDefinition = definitions.get_repository_def()
    for flow in all_flows().values():
        assert job_tags(flow).items() <= repository.get_job(flow.name).run_tags.items()


def test_limits_follow_from_workers_and_flows() -> None:
    bounded = replace(PLANNED, runs=Runs(at_once=4))
    settings = Settings(_env_file=None, workers_default=3, workers_gpu=1, workers_batch=2)  # pyright: ignore[reportCallIssue]
    found = {(one["key"], one["value"]): one["limit"] for one in limits(settings, [PLANNED, bounded])}
    assert found == {
        (QUEUE_TAG, "default"): 3, (UNHURRIED_TAG, "default"): 2, (QUEUE_TAG, "gpu"): 1, (UNHURRIED_TAG, "gpu"): 1,
        (QUEUE_TAG, "batch"): 2, (UNHURRIED_TAG, "batch"): 1,
        (ELSEWHERE_TAG, "true"): settings.runs_elsewhere, (FLOW_TAG, "planned"): 4,
    }  # fmt: skip


def test_limits_that_a_project_sets_hold_beside_those_of_the_queues(
    dagster_home: Path, tmp_path: Path
) -> None:
    """As Dagster's pages say to set them: under `concurrency`."""
    config = json.loads((dagster_home / "dagster.yaml").read_text(encoding="utf-8"))
    mine = {"key": "team", "value": "shop", "limit": 1}
    config["concurrency"] = {"runs": {"max_concurrent_runs": 3, "tag_concurrency_limits": [mine]}}
    (tmp_path / "dagster.yaml").write_text(json.dumps(config), encoding="utf-8")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue == instance.run_coordinator.get_run_queue_config()  # pyright: ignore[reportAttributeAccessIssue]
        assert queue.max_concurrent_runs == 3
        given = {(one["key"], one["value"]): one["limit"] for one in queue.tag_concurrency_limits or ()}
        assert given[("team", "shop")] == 1
        assert given[(QUEUE_TAG, "default")] == 2
