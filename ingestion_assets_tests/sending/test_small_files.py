"""Many small files travel in few requests; whose line is whose, and how far each file is, stays exact."""

import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion_assets_tests.sending.conftest import Run
from ingestion_assets_tests.sending.peer import DROP_ANSWER, Peer


def session(number: int) -> str:
    return str(uuid.UUID(int=random.Random(number).getrandbits(128)))


def write(folder: Path, number: int, *, lines: int = 2, named: bool = True) -> Path:
    """A small transcript; `named`: its lines name their session."""
    file = folder / f"{session(number)}.jsonl"
    more: dict[str, Any] = {"sessionId": session(number)} if named else {}
    file.write_text(
        "".join(json.dumps({"type": "user", "uuid": f"{number}-{n}", **more}) + "\n" for n in range(lines))
    )
    return file


def owners(peer: Peer) -> dict[str, str | None]:
    """The session that the server gives each message."""
    return {
        message["uuid"]: message.get("sessionId", request.get("sessionId"))
        for request in peer.requests
        for message in request.get("messages", [])
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p").mkdir()
    return tmp_path / "p"


def test_a_thousand_small_files_are_a_few_requests(send, peer, folder) -> None:
    for number in range(1000):
        write(folder, number)
    (folder / "todos").mkdir()
    for number in range(1000):
        (folder / "todos" / f"{session(number)}-agent-a.json").write_text("[]")
    run = send(folder)
    assert (run.status, run.summary["stored"], run.summary["todo_lists"], run.summary["files"]) == (
        0,
        2000,
        1000,
        2000,
    )
    assert run.summary["requests"] <= 40
    assert owners(peer) == {f"{number}-{n}": session(number) for number in range(1000) for n in range(2)}
    lists = [todo["sessionId"] for request in peer.requests for todo in request.get("todos", [])]
    assert sorted(lists) == sorted(map(session, range(1000)))
    assert send(folder).summary["files_unchanged"] == 2000


def test_lines_that_name_no_session_stay_with_the_session_of_their_file(send, peer, folder) -> None:
    for number in range(60):
        write(folder, number, named=number % 3 > 0)
    (folder / "notes.jsonl").write_text(
        '{"type":"mode","uuid":"notes","sessionId":null}\n{"type":"mode","uuid":"empty","sessionId":""}\n'
    )
    agents = folder / session(0) / "subagents"
    agents.mkdir(parents=True)
    (agents / "agent-1.jsonl").write_text('{"type":"user","uuid":"agent"}\n')
    run = send(folder)
    assert run.status == 0
    found = owners(peer)
    expected = {f"{number}-{n}": session(number) for number in range(60) for n in range(2)}
    assert {name: found[name] for name in expected} == expected
    assert (found["agent"], found["notes"]) == (session(0), None)
    alone = [request for request in peer.requests if any(m["uuid"] == "empty" for m in request["messages"])]
    assert "sessionId" not in alone[0]
    assert run.summary["requests"] < 30


def test_each_file_goes_on_alone_and_every_line_keeps_its_outcome(send, folder) -> None:
    files = [write(folder, number) for number in range(50)]
    with files[7].open("a") as handle:
        handle.write('{"uuid":"no type"}\n[]\n{"type":"us')
    run = send(folder)
    told = [(Path(one["path"]), one["line"], one["code"]) for one in run.summary["problems"]]
    assert sorted(told) == [
        (files[7], 3, "type_missing"),
        (files[7], 4, "not_an_object"),
        (files[7], 5, "incomplete"),
    ]
    assert (run.status, run.summary["stored"], run.summary["rejected"], run.summary["requests"]) == (
        1,
        100,
        1,
        1,
    )
    with files[7].open("a") as handle:
        handle.write('er","uuid":"later"}\n')
    files[9].write_text(files[9].read_text() + '{"type":"user","uuid":"grown"}\n')
    again = send(folder)
    assert (again.status, again.summary["lines_sent"], again.summary["files_unchanged"]) == (0, 2, 48)


def test_a_refused_line_among_many_files_is_found(send, peer, folder) -> None:
    files = [write(folder, number) for number in range(40)]
    peer.refuse_containing = b'"23-1"'
    run = send(folder)
    assert [(Path(one["path"]), one["line"], one["code"]) for one in run.summary["problems"]] == [
        (files[23], 2, "http_400")
    ]
    assert len(peer.messages) == 79
    assert send(folder).summary["requests"] == 0


def test_a_lost_answer_makes_the_same_request_again(send: Callable[..., Run], peer, folder) -> None:
    for number in range(300):
        write(folder, number)
    peer.script.extend([DROP_ANSWER] * 8)
    assert send(folder, "--retry-for", "0.1s", "--concurrency", "1").status == 3
    peer.script.clear()
    run = send(folder)
    assert (run.status, peer.insertions, len(peer.messages)) == (0, 600, 600)


def test_requests_keep_their_bounds(send, peer, folder) -> None:
    for number in range(30):
        write(folder, number, lines=10)
    send(folder, "--batch-lines", "25", "--batch-bytes", "100000")
    assert {len(request["messages"]) for request in peer.requests} == {20}
    peer.requests.clear()
    send(folder, "--batch-bytes", "1000", "--reset")
    assert max(len(json.dumps(request["messages"])) for request in peer.requests) < 1300


def test_conflicts_are_told_line_by_line_and_duplicates_are_not(send, folder) -> None:
    lines = [{"type": "hook", "uuid": "one", "sessionId": "s", "content": n} for n in (0, 1, 2, 0)]
    file = folder / "s.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    for _ in range(2):
        run = send(file, "--reset")
        assert run.status == 1
        assert [(one["line"], one["code"]) for one in run.summary["problems"]] == [
            (2, "conflict"),
            (3, "conflict"),
        ]
        assert (run.summary["conflicts"], run.summary["rejected"]) == (2, 0)
    assert (run.summary["stored"], run.summary["duplicate"]) == (0, 2)


def test_superseded_todo_lists_are_counted_and_no_failure(send, peer, folder) -> None:
    (folder / "todos").mkdir()
    for number in range(3):
        (folder / "todos" / f"s{number}-agent-a.json").write_text("[]")
    peer.superseding = True
    run = send(folder)
    assert (run.status, run.summary["superseded"], run.summary["todo_lists"]) == (0, 3, 3)
