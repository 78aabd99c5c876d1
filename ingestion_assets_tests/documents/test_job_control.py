"""The table of statuses and actions, options that are refused, and who goes first. Nothing is needed for it."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from ingestion_assets.documents.flow import DOCUMENTS, JobPayload, job_drop
from ingestion_assets.documents.job_control import (
    ACTIONS,
    STATUSES,
    STEPS_OF,
    Priority,
    allowed,
    status_after,
)
from ingestion_assets.documents.job_files import _share
from ingestion_assets.documents.job_options import ProcessingOptions
from ingestion_assets.landing import dispatch
from ingestion_assets.landing.drops import HELD, PRIORITY, Lane

SAME = None
TABLE = {
    "pending": {"start": "queued", "cancel": "cancelled"},
    "queued": {"start": SAME, "pause": "paused", "cancel": "cancelled"},
    "running": {"start": SAME, "pause": "paused", "cancel": "cancelled"},
    "retrying": {"start": SAME, "pause": "paused", "cancel": "cancelled"},
    "paused": {"pause": SAME, "resume": "queued", "cancel": "cancelled"},
    "completed": {"retry": "retrying"},
    "failed": {"retry": "retrying"},
    "cancelled": {"retry": "retrying"},
}


@pytest.mark.parametrize("status", STATUSES)
def test_every_pair_of_status_and_action_is_as_documented(status) -> None:
    assert set(allowed(status)) == set(TABLE[status])
    for action in ACTIONS:
        if action in TABLE[status]:
            assert status_after(status, action) == TABLE[status][action]
        else:
            with pytest.raises(KeyError):
                status_after(status, action)


@pytest.mark.parametrize(
    "wrong",
    [
        {"chunk_size": 100, "chunk_overlap": 100}, {"chunk_size": 49}, {"chunk_overlap": -1}, {"max_retries": 11},
        {"timeout_seconds": 0}, {"quality_threshold": 1.1}, {"unknown": 1}, {"source_specific_options": {"unknown": 1}},
        {"source_specific_options": {"ocr": "maybe"}}, {"max_workers": 0},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        ProcessingOptions.model_validate(wrong)


def test_the_key_of_options_changes_with_what_changes_the_text_and_with_nothing_else() -> None:
    key = ProcessingOptions.model_validate({}).key()
    for same in (
        {"max_workers": 1},
        {"timeout_seconds": 5},
        {"source_specific_options": {"passwords": ["a"]}},
        {"skip_existing": False},
    ):
        assert ProcessingOptions.model_validate(same).key() == key
    for other in (
        {"chunk_size": 900},
        {"extract_math": False},
        {"source_specific_options": {"ocr": "never"}},
        {"use_llm_parsing": True},
    ):
        assert ProcessingOptions.model_validate(other).key() != key


def test_what_is_urgent_goes_first_and_what_waits_is_not_passed_for_ever() -> None:
    now = datetime.now(UTC)

    def waiting(name: str, priority: Priority, waited_s: float) -> dispatch.LaneState:
        lane = Lane("documents", "2026-01-31", name)
        return dispatch.LaneState(
            lane,
            now - timedelta(seconds=waited_s),
            leased=False,
            pending=False,
            priority=STEPS_OF[priority],
            waited_s=waited_s,
        )

    def order(*states: dispatch.LaneState) -> list[str]:
        return [
            lane.name
            for lane in dispatch.lanes_to_dispatch(states, at_most=9, runs={"documents": DOCUMENTS.runs})
        ]

    states = [
        waiting("low", "low", 100),
        waiting("old", "normal", 50),
        waiting("new", "normal", 1),
        waiting("urgent", "urgent", 0),
    ]
    assert order(*states) == ["urgent", "old", "new", "low"]
    assert order(waiting("low", "low", 601), waiting("new", "normal", 1)) == ["low", "new"]
    assert order(waiting("low", "low", 1801), waiting("urgent", "urgent", 0)) == ["low", "urgent"]


@pytest.mark.parametrize(
    ("free", "own", "place", "jobs", "share"),
    [
        (3, 0, 1, 1, 3),
        (3, 0, 1, 2, 2),
        (1, 0, 2, 2, 0),
        (1, 0, 1, 4, 1),
        (0, 0, 1, 1, 0),
        (1, 2, 1, 1, 1),
        (2, 1, 1, 3, 0),
    ],
)
def test_slots_are_shared_by_the_jobs_that_want_some(
    free: int, own: int, place: int, jobs: int, share: int
) -> None:
    assert _share(free, own=own, place=place, jobs=jobs, cap=3) == share


def test_a_job_lands_held_with_its_priority() -> None:
    drop = job_drop(
        JobPayload("job_1", "user123", priority="urgent"),
        partition="2026-01-31",
        principal="me",
        attributes={},
        key="k",
    )
    assert (drop.lane, drop.attributes[PRIORITY]) == ("job_1", "20")
    assert HELD in drop.attributes
