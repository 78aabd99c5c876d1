"""Nothing is lost or sent twice over outages, restarts of the server, and kills of the sender."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion_assets_tests.sending.peer import DROP_ANSWER, DROP_UNREAD, Answer, Peer

COMMAND = [sys.executable, "-c", "from ingestion_assets.sending.cli import app; app()", "claude"]
# `ru_maxrss` would count what the process that forked the sender holds.
PEAK_AT_EXIT = """
import atexit, pathlib, sys
from ingestion_assets.sending.cli import app
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
app()
"""


def write_lines(file: Path, first: int, last: int) -> None:
    with file.open("a") as handle:
        for number in range(first, last):
            handle.write(
                json.dumps({"type": "user", "sessionId": file.stem, "uuid": f"{file.stem}-{number}"}) + "\n"
            )


def start(
    peer: Peer, state: Path, *arguments: str | Path, command: list[str] = COMMAND
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, *map(str, arguments), "--url", peer.url, "--key", "k", "--state", str(state), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "script",
    [
        [DROP_UNREAD, DROP_ANSWER, DROP_UNREAD],
        [Answer(503, {"Retry-After": "0"}), Answer(429, {"Retry-After": "0"}), Answer(500)],
        [Answer(502), DROP_ANSWER, Answer(409)],
    ],
)
def test_trouble_between_requests_loses_and_doubles_nothing(script, send, peer, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 50)
    peer.script.extend(script)
    run = send(tmp_path / "a.jsonl", "--batch-lines", "10")
    assert run.status == 0
    assert [message["uuid"] for message in peer.messages] == [f"a-{n}" for n in range(50)]
    assert run.summary["stored"] + run.summary["duplicate"] == 50
    assert not peer.script


def test_retry_after_is_honoured(send, peer, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 1)
    peer.script.append(Answer(429, {"Retry-After": "2"}))
    began = time.monotonic()
    assert send(tmp_path / "a.jsonl").status == 0
    assert time.monotonic() - began >= 2


def test_gives_up_after_the_time_given_and_goes_on_later(peer, send, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 30)
    peer.script.extend([DROP_UNREAD] * 1000)
    run = send(tmp_path / "a.jsonl", "--retry-for", "1s")
    assert (run.status, run.summary["lines_sent"]) == (3, 0)
    assert "run the same command again" in run.errors
    peer.script.clear()
    assert send(tmp_path / "a.jsonl").summary["stored"] == 30


def test_a_wrong_key_ends_at_once(peer, send, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 1)
    peer.script.append(Answer(401, detail="unknown key"))
    run = send(tmp_path / "a.jsonl")
    assert run.status == 2
    assert "unknown key" in run.errors


def test_outcomes_left_open_are_learnt_next_time(peer, send, tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"type":"user","uuid":"1"}\n{"uuid":"2"}\n')
    peer.hold_receipts.set()
    sender = start(peer, tmp_path / "state.sqlite", tmp_path / "a.jsonl")
    until(lambda: len(peer.requests) == 1)
    time.sleep(0.2)  # let it note the answer; killing earlier is the next test's matter
    sender.kill()
    sender.communicate()
    peer.hold_receipts.clear()
    run = send(tmp_path / "a.jsonl")
    assert (run.status, run.summary["lines_sent"], run.summary["stored"]) == (1, 0, 1)
    assert [(problem["line"], problem["code"]) for problem in run.summary["problems"]] == [
        (2, "type_missing")
    ]


def test_a_sender_killed_at_random_moments_loses_and_doubles_nothing(peer, tmp_path) -> None:
    folder, state = tmp_path / "p", tmp_path / "state.sqlite"
    folder.mkdir()
    for name in ("a", "b", "c"):
        write_lines(folder / f"{name}.jsonl", 0, 250)
    chance = random.Random(7)
    kills = 0
    for _ in range(4):
        before = len(peer.requests)
        sender = start(peer, state, folder, "--batch-lines", "7", "--concurrency", "2")
        until(lambda sender=sender, before=before: len(peer.requests) > before or sender.poll() is not None)
        time.sleep(chance.uniform(0.0, 0.12))
        kills += sender.poll() is None
        sender.kill()
        sender.communicate()
    assert kills >= 2
    sender = start(peer, state, folder, "--batch-lines", "7")
    output, errors = sender.communicate(timeout=60)
    assert sender.returncode == 0, errors
    assert set(peer.stored) == {(name, f"{name}-{n}") for name in "abc" for n in range(250)}
    assert peer.insertions == 750
    # Requests cut alike are recognised by their key: what was sent twice never became a second request.
    assert len(peer.messages) == 750
    assert json.loads(output)["rejected"] == 0


def test_a_server_that_restarts_while_lines_are_sent(tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 1200)
    with Peer() as first:
        sender = start(
            first, tmp_path / "state.sqlite", tmp_path / "a.jsonl", "--batch-lines", "20", "--no-wait"
        )
        until(lambda: len(first.requests) > 5)
        first.script.extend([DROP_UNREAD] * 10_000)
    with Peer(port=first.port) as second:
        _, errors = sender.communicate(timeout=60)
        assert sender.returncode == 0, errors
        arrived = [message["uuid"] for message in first.messages + second.messages]
        assert arrived == [f"a-{n}" for n in range(1200)]


def test_one_sender_at_a_time_per_state_file(peer, send, tmp_path) -> None:
    write_lines(tmp_path / "a.jsonl", 0, 1)
    peer.hold_receipts.set()
    holder = start(peer, tmp_path / "state.sqlite", tmp_path / "a.jsonl")
    until(lambda: len(peer.requests) == 1)
    run = send(tmp_path / "a.jsonl")
    assert run.status == 2
    assert f"another sender (process {holder.pid}) is using the state file" in run.errors
    holder.send_signal(signal.SIGINT)
    holder.communicate(timeout=20)
    assert holder.returncode == 130
    peer.hold_receipts.clear()
    assert send(tmp_path / "a.jsonl").status == 0


@pytest.mark.parametrize("mode", [(), ("--poll",)])
def test_follow_sends_new_lines_and_new_files_until_interrupted(mode, peer, tmp_path) -> None:
    folder, state = tmp_path / "p", tmp_path / "state.sqlite"
    folder.mkdir()
    write_lines(folder / "a.jsonl", 0, 3)
    sender = start(peer, state, folder, "--follow", *mode)
    until(lambda: len(peer.messages) == 3)
    write_lines(folder / "a.jsonl", 3, 5)
    until(lambda: len(peer.messages) == 5)
    (folder / "sub").mkdir()
    write_lines(folder / "sub" / "b.jsonl", 0, 2)
    until(lambda: len(peer.messages) == 7)
    with (folder / "a.jsonl").open("a") as handle:
        handle.write('{"type":"user","uuid":"a-5",')
        handle.flush()
        write_lines(folder / "sub" / "b.jsonl", 2, 3)
        until(lambda: len(peer.messages) == 8)
        peer.script.extend([DROP_UNREAD] * 3)
        handle.write('"sessionId":"a"}\n')
    until(lambda: len(peer.messages) == 9)
    sender.send_signal(signal.SIGINT)
    output, errors = sender.communicate(timeout=20)
    assert sender.returncode == 0, errors
    assert json.loads(output)["problems"] == []
    assert set(peer.stored) == {("a", f"a-{n}") for n in range(6)} | {("b", f"b-{n}") for n in range(3)}
    write_lines(folder / "a.jsonl", 6, 7)
    again = start(peer, state, folder)
    again.communicate(timeout=20)
    assert len(peer.messages) == peer.insertions == 10


def test_memory_stays_bounded_with_a_line_of_64_mb(peer, tmp_path) -> None:
    file = tmp_path / "s.jsonl"
    with file.open("wb") as handle:
        handle.write(b'{"type":"user","uuid":"big","text":"')
        for _ in range(64):
            handle.write(os.urandom(500_000).hex().encode())
        handle.write(b'"}\n{"type":"user","uuid":"small"}\n')
    command = [sys.executable, "-c", PEAK_AT_EXIT, "claude"]
    sender = start(peer, tmp_path / "state.sqlite", file, command=command)
    _, said = sender.communicate()
    assert sender.returncode == 0
    assert [message["uuid"] for message in peer.messages] == ["big", "small"]
    peak = int(said.partition("VmHWM:")[2].split()[0])
    assert 20 * 1024 < peak < 320 * 1024, f"{peak} KiB"
