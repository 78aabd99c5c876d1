"""A state file that cannot be used is a sentence; nothing is lost by it, and nothing acknowledged that was not."""

import json
import resource
import sqlite3
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ingestion_assets.conversations.sending.transcript_memory import Memory, OpenReceipt
from ingestion_assets.sending.cli import app
from ingestion_assets_tests.sending.test_outages import write_lines

COMMAND = [sys.executable, "-c", "from ingestion_assets.sending.cli import app; app()"]


def full_disk(most: int) -> None:
    """No file can grow beyond so many bytes: what a full disk looks like to one process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize("most", [0, 4096, 200_000])
def test_a_full_disk_is_told_and_loses_nothing(most, send, peer, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 120)
    state = ["--state", str(tmp_path / "state.sqlite")]
    fixed = ["--url", peer.url, "--key", "k", "--batch-lines", "1", str(tmp_path / "a.jsonl")]
    full = subprocess.run(
        [*COMMAND, "claude", *state, *fixed], capture_output=True, text=True, check=False, preexec_fn=lambda: full_disk(most)
    )  # fmt: skip
    assert full.returncode == 2, full.stderr
    assert "state file" in full.stderr
    assert "Traceback" not in full.stderr
    posted = len(peer.messages)
    assert 0 < posted < 120 if most == 200_000 else posted == 0
    run = send(tmp_path / "a.jsonl", "--batch-lines", "1")
    assert (run.status, peer.insertions) == (0, 120)
    assert len(peer.messages) == 120  # what could not be noted was sent again under its key, and recognised
    assert run.summary["lines_sent"] >= 120 - posted


@pytest.mark.parametrize("flow", ["claude", "entities"])
def test_state_files_that_cannot_be_used_are_a_sentence(flow, peer, tmp_path) -> None:
    (tmp_path / "claude").write_text('{"type":"user","uuid":"1"}\n')
    (tmp_path / "entities").write_text("C|1\n")
    (tmp_path / "garbage").write_bytes(b"\xff\x00no state at all" * 100)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for state in ("garbage", "file/state", "folder"):
        command = [
            flow,
            "--url",
            peer.url,
            "--key",
            "k",
            "--state",
            str(tmp_path / state),
            str(tmp_path / flow),
        ]
        ended = CliRunner().invoke(app, command, catch_exceptions=False)
        assert ended.exit_code == 2, ended.output
        assert "state file" in ended.stderr
        assert peer.posts == 0


def test_a_full_disk_stops_no_stream_from_being_named(peer, tmp_path) -> None:
    (tmp_path / "m").write_text("C|1\n")
    fixed = ["--url", peer.url, "--key", "k", "--state", str(tmp_path / "s.sqlite"), str(tmp_path / "m")]
    full = subprocess.run(
        [*COMMAND, "entities", *fixed], capture_output=True, text=True, check=False, preexec_fn=lambda: full_disk(0)
    )  # fmt: skip
    assert (full.returncode, "state file" in full.stderr, peer.posts) == (2, True, 0)
    assert CliRunner().invoke(app, ["entities", *fixed]).exit_code == 0
    with sqlite3.connect(tmp_path / "s.sqlite") as kept:  # the stream is complete
        assert kept.execute("select count(*) from streams").fetchone() == (0,)


def test_receipts_of_one_and_of_several_files_are_remembered_in_order(tmp_path) -> None:
    path = tmp_path / "state.sqlite"
    places = [("a", 1, 0), ("a", 2, 10), ("b", 1, 0), ("a", 3, 20)]
    memory = Memory(path=path, target="t")
    memory.advance([], receipts=[OpenReceipt(id="r", places=places, replayed=False)])
    memory.close()
    with sqlite3.connect(path) as before:  # as it was kept when a request held lines of one file
        before.execute("insert into receipts values ('t', 'old', 'c', '[[1, 0], [2, 7]]', 1)")
    memory = Memory(path=path, target="t")
    mine, old = memory.open_receipts()
    assert (mine.places, mine.replayed) == (places, False)
    assert (old.places, old.replayed) == ([("c", 1, 0), ("c", 2, 7)], True)
    memory.receipt_closed(mine)
    assert memory.open_receipts() == [old]
    memory.close()


@pytest.mark.parametrize("flow", ["claude", "entities", "drupal"])
def test_an_outcome_that_cannot_be_printed_is_a_sentence(flow, peer, tmp_path) -> None:
    (tmp_path / "claude").write_text('{"type":"user","uuid":"1"}\n')
    (tmp_path / "entities").write_text("C|1\n")
    entry = {"package": "Core", "display_name": "A (a)", "status": "Enabled", "version": "10.2.1"}
    (tmp_path / "drupal").write_text(json.dumps({"a": entry}))
    more = ["--site", "1", "--dry-run"] if flow == "drupal" else ["--state", str(tmp_path / "state")]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [*COMMAND, flow, "--url", peer.url, "--key", "k", *more, str(tmp_path / flow)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (ended.returncode, "cannot be printed" in ended.stderr) == (2, True)
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
