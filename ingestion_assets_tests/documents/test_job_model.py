"""Jobs controlled at random while their runs are at work: every answer is one that the table of statuses gives, and what is stored is
never half of anything. `INGESTION_LONG_TESTS=1` has it go on for long."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ingestion_assets.documents.job_control import ACTIONS, allowed
from ingestion_assets_tests.documents.job_front import OVER, USER, JobsFront, jobs_front, recount, text_files

LONG = bool(os.environ.get("INGESTION_LONG_TESTS"))
FILES = 30 if LONG else 12
MOVING = {"queued", "running", "retrying"}


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsFront]:
    with jobs_front(
        postgres_url, tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    ) as running:
        yield running


def machine(front: JobsFront) -> type[RuleBasedStateMachine]:
    """A machine of one job over a folder of its own."""

    class Controlled(RuleBasedStateMachine):
        made = 0

        @initialize(workers=st.integers(1, 4), bad=st.integers(0, 2))
        def create(self, workers: int, bad: int) -> None:
            type(self).made += 1
            self.folder: Path = text_files(front.root / f"folder{self.made}", FILES, salt=f" of {self.made}")
            for number in range(bad):
                (self.folder / f"empty{number}.txt").write_bytes(b"")
            self.bad = bad
            self.job = front.create(front.connect(self.folder), max_workers=workers)

        @rule(action=st.sampled_from(ACTIONS), failed_only=st.booleans())
        def act(self, action: str, failed_only: bool) -> None:
            before = front.read(self.job)
            answer = front.control(self.job, action, retry_failed_only=failed_only)
            stays = before["status"] not in MOVING and not before["pausing"]
            if answer.status_code == 409:
                said = answer.json()
                assert action not in said["allowed_actions"]
                assert set(said["allowed_actions"]) == set(allowed(said["status_of_job"]))
                assert not stays or said["status_of_job"] == before["status"]
            else:
                assert answer.status_code == 200, answer.text
                assert not stays or action in allowed(before["status"])

        @rule()
        def come_to_rest(self) -> None:
            """What is under way comes to its end; what is paused stays as it is."""
            now = front.until(
                self.job, lambda now: now["status"] not in MOVING and not now["pausing"], what="rest"
            )
            open_files = [
                name
                for name, file in front.files(self.job).items()
                if file["status"] not in ("completed", "failed", "skipped")
            ]
            if now["status"] == "paused":
                assert all(
                    file["status"] == "pending"
                    for name, file in front.files(self.job).items()
                    if name in open_files
                )
            if now["status"] in OVER:
                assert not open_files
                assert now["progress_percentage"] == 100
            if now["status"] == "failed":
                assert now["failed_files"] >= 1
            if now["status"] == "completed":
                assert now["failed_files"] == 0

        @precondition(lambda self: hasattr(self, "job"))
        @invariant()
        def counts_are_a_recount(self) -> None:
            with front.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                job = connection.exec_driver_sql(
                    "SELECT completed_files, failed_files, skipped_files, progress, total_files, status FROM documents.jobs WHERE id = %s",
                    (self.job,),
                ).one()  # fmt: skip
                files = connection.exec_driver_sql(
                    "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'), "
                    "count(*) FILTER (WHERE status = 'skipped'), sum(progress), count(*) FROM documents.files WHERE job_id = %s",
                    (self.job,),
                ).one()  # fmt: skip
            assert tuple(job)[:5] == tuple(files)
            assert (sum(files[:3]) == job.total_files) >= (job.status in OVER)

        @precondition(lambda self: hasattr(self, "job"))
        @invariant()
        def what_is_stored_is_whole(self) -> None:
            half = front.rows("""
                SELECT content.id FROM documents.contents content LEFT JOIN documents.chunks chunk ON chunk.content_id = content.id
                GROUP BY content.id HAVING count(chunk.number) <> content.chunks
            """)
            assert half == []

        def teardown(self) -> None:
            if not hasattr(self, "job"):
                return
            status = front.read(self.job)["status"]
            for action in {"pending": ["start"], "paused": ["resume"]}.get(status, []):
                front.control(self.job, action)
            first = front.over(self.job)
            if first["status"] == "cancelled" or first["failed_files"] > self.bad:
                assert front.control(self.job, "retry").status_code == 200
                front.over(self.job)
            counts = recount(front, self.job)
            assert counts.get("failed", 0) == self.bad
            assert counts.get("completed", 0) + counts.get("skipped", 0) == FILES
            stored = front.rows(
                "SELECT count(*) FROM documents.documents WHERE job_id = :job AND removed_at IS NULL",
                job=self.job,
            )
            assert stored == [(FILES,)]
            gaps = front.rows(
                "SELECT count(*) - max(sequence) + min(sequence) - 1 FROM documents.events WHERE user_id = :user",
                user=USER,
            )
            assert gaps == [(0,)]
            shutil.rmtree(self.folder)

    return Controlled


def test_jobs_under_control_answer_as_the_table_says(front: JobsFront) -> None:
    run_state_machine_as_test(
        machine(front),
        settings=settings(
            max_examples=40 if LONG else 3, stateful_step_count=30 if LONG else 8, deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip
