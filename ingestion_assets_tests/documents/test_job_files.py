"""Files as rows: taken under a lease, given back, lost with their process, ended once; the counts and what is told follow each change."""

import pytest
import sqlalchemy as sa

from ingestion_assets.documents import batch_jobs, job_events
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.flow import NAME, FileEntry, JobPayload
from ingestion_assets.documents.job_files import (
    CRASHES_ALONE,
    MOST_CRASHES,
    FileLostError,
    JobFile,
    hold,
    left,
)

JOB, USER = "job_1", "user123"
FILES = 4


@pytest.fixture
def job(engine: sa.Engine) -> str:
    files = [
        FileEntry("conn", "local_directory", f"file{number}", f"file{number}", f"file{number}")
        for number in range(FILES)
    ]
    payload = JobPayload(JOB, USER, "Test", model="model@1", files=files)
    with engine.begin() as connection:
        batch_jobs.insert(connection, payload, principal="me", status="queued")
    return JOB


def begin(engine: sa.Engine, run: str) -> None:
    """A run has the lane and begins with the job."""
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM ingestion.leases"))
        values = {"flow": NAME, "lane": JOB, "run": run}
        connection.execute(
            sa.text(
                "INSERT INTO ingestion.leases VALUES (:flow, :lane, :run, clock_timestamp() + interval '1 hour')"
            ),
            values,
        )
        assert batch_jobs.begin(connection, JobPayload(JOB, USER), principal="me", holder=run) is not None


def take(
    engine: sa.Engine, run: str, *, most: int = 9, cap: int = 9, in_hand: tuple[int, ...] = ()
) -> list[JobFile]:
    with engine.begin() as connection:
        return hold(connection, JOB).take(connection, run, flow=NAME, in_hand=in_hand, most=most, cap=cap)


def end(
    engine: sa.Engine, run: str, file: JobFile, status: str = "completed", error: FileError | None = None
) -> None:
    with engine.begin() as connection:
        hold(connection, JOB).end(connection, run, file, status, error=error)  # pyright: ignore[reportArgumentType]


def counts(engine: sa.Engine) -> tuple[int, ...]:
    """Of the job's row; the same as a recount, or this fails."""
    with engine.connect() as connection:
        row = connection.execute(
            sa.text("SELECT completed_files, failed_files, skipped_files, progress FROM documents.jobs")
        ).one()
        recount = connection.execute(
            sa.text("""SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
                       count(*) FILTER (WHERE status = 'skipped'), sum(progress) FROM documents.files""")
        ).one()
    assert tuple(row) == tuple(recount)
    return tuple(row)


def test_a_file_is_ended_once_by_who_holds_it(engine: sa.Engine, job: str) -> None:
    begin(engine, "run 1")
    first, second = take(engine, "run 1", most=2)
    assert len(take(engine, "run 1", in_hand=(1, 2))) == 2, "each is taken once"
    end(engine, "run 1", first)
    end(engine, "run 1", second, "failed", FileError("corrupted", "parsing", "It is damaged.", page=3))
    for run in ("run 1", "run 2"):
        with pytest.raises(FileLostError):
            end(engine, run, first)
    assert counts(engine) == (1, 1, 0, 200)
    with engine.begin() as connection:
        assert hold(connection, job).cancel(connection) == 2
        assert left(connection, job)[0] == 0
    assert counts(engine) == (1, 3, 0, 400)
    with engine.begin() as connection:
        assert hold(connection, job).afresh(connection, failed_only=True, codes=["cancelled"]) == 2
    assert counts(engine) == (1, 1, 0, 200)


def test_no_more_files_are_processed_than_the_cap_allows(engine: sa.Engine, job: str) -> None:
    begin(engine, "run 1")
    assert [file.number for file in take(engine, "run 1", cap=3)] == [1, 2, 3]
    assert take(engine, "run 1", cap=3, in_hand=(1, 2, 3)) == []
    with engine.begin() as connection:
        assert hold(connection, job).move(connection, "run 1", {1: ("embedding", 50)}) == 1
    assert [file.number for file in take(engine, "run 1", cap=3, in_hand=(1, 2, 3))] == [4], (
        "one waits for vectors only"
    )


@pytest.mark.usefixtures("job")
def test_what_a_process_held_that_was_lost_is_done_again_and_what_kills_each_of_them_fails(
    engine: sa.Engine,
) -> None:
    begin(engine, "run 0")
    taken = take(engine, "run 0", most=2)
    for crash in range(1, MOST_CRASHES + 1):
        begin(engine, f"run {crash}")
        with pytest.raises(FileLostError):
            end(engine, f"run {crash - 1}", taken[0])
        if crash < CRASHES_ALONE:
            taken = take(engine, f"run {crash}", most=2)
            assert [file.crashes for file in taken] == [crash] * 2
        elif crash == CRASHES_ALONE:
            others = take(engine, f"run {crash}")
            assert [file.number for file in others] == [3, 4], "those go first"
            assert take(engine, f"run {crash}", in_hand=(3, 4)) == [], "one that may be poisonous is alone"
            for file in others:
                end(engine, f"run {crash}", file)
        if CRASHES_ALONE <= crash < MOST_CRASHES:
            taken = take(engine, f"run {crash}")
            assert len(taken) == 1
    assert counts(engine)[:2] == (2, 1)
    with engine.connect() as connection:
        codes = connection.scalars(
            sa.text("SELECT error_code FROM documents.files WHERE status = 'failed'")
        ).all()
    assert codes == ["parser_crashed"]


def test_an_attempt_that_failed_is_repeated_later(engine: sa.Engine, job: str) -> None:
    begin(engine, "run 1")
    file = take(engine, "run 1", most=1)[0]
    with engine.begin() as connection:
        held = hold(connection, job)
        held.again_later(
            connection, "run 1", file, FileError("download_failed", "downloading", "Away."), delay_s=3600
        )
    assert 1 not in [one.number for one in take(engine, "run 1")]
    with engine.connect() as connection:
        files, due_s = left(connection, job)
        assert files == FILES
        assert 3000 < due_s <= 3600


@pytest.mark.usefixtures("job")
def test_messages_are_numbered_without_gaps(engine: sa.Engine) -> None:
    begin(engine, "run 1")
    for file in take(engine, "run 1"):
        end(engine, "run 1", file)
    with engine.connect() as connection:
        told = job_events.later(connection, USER, None, after=0, limit=100)
        assert [row.sequence for row in told] == list(range(1, len(told) + 1))
        assert job_events.ends(connection, USER) == (1, len(told))
        assert job_events.later(connection, "another", None, after=0, limit=100) == []
    last = told[-1].message
    assert (last["type"], last["job"]["completed_files"], last["job"]["progress_percentage"]) == (
        "job_update",
        FILES,
        100,
    )
