"""What arrives at the server is what is valid in the files, each line once, whatever is sent again."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ingestion_assets.conversations.sending.sender import OPEN_REQUESTS
from ingestion_assets.samples.transcripts import write_transcripts
from ingestion_assets_tests.sending.conftest import lines_of, uuids

EXPECTED = {
    "bigint-and-float": (["01"], []),
    "bom-crlf-blank": (["01", "02"], []),
    "empty": ([], []),
    "escaped-nul-u0000": (["01", "02"], []),
    "invalid-utf8": (["01", "02"], []),
    "lone-high-surrogate": (["01", "02"], []),
    "no-final-newline": (["01", "02"], []),
    "nul-run-line": (["01", "02"], []),
    "nul-run-prefix": (["01", "02", "03"], []),
    "stub-then-object-on-one-line": (["01", "02", "03"], [(2, 314, "truncated")]),
    "truncated-last-line": (["01"], [(2, 314, "incomplete")]),
    "truncated-middle-line": (["01", "03"], [(2, 314, "truncated")]),
    "two-objects-on-one-line": (["01", "02", "03"], []),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_corruption(name, send, peer, corruption) -> None:
    arrived, problems = EXPECTED[name]
    run = send(corruption / f"{name}.jsonl")
    assert uuids(peer.messages) == arrived
    found = [(problem["line"], problem["offset"], problem["code"]) for problem in run.summary["problems"]]
    assert found == problems
    assert run.status == (1 if problems else 0)
    assert run.summary["stored"] == len(arrived)


def test_lines_that_are_no_objects_are_listed_and_those_the_server_rejects_too(send, corruption) -> None:
    run = send(corruption / "non-object-lines.jsonl")
    assert run.status == 1
    assert [(problem["line"], problem["code"]) for problem in run.summary["problems"]] == [
        *[(number, "not_an_object") for number in (1, 2, 3, 4)],
        (5, "type_missing"),
    ]
    assert (run.summary["stored"], run.summary["rejected"], run.summary["unsendable"]) == (1, 1, 4)


def test_numbers_arrive_as_they_were_written(send, peer, corruption) -> None:
    send(corruption / "bigint-and-float.jsonl")
    line = (corruption / "bigint-and-float.jsonl").read_bytes().strip()
    assert peer.raw_bodies[0].count(line) == 1


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "none"])
def test_all_lines_of_a_folder_arrive_in_order_of_each_file(encoding, send, peer, tmp_path) -> None:
    written = write_transcripts(tmp_path / "claude", sessions=6, lines=700, seed=3)
    run = send(tmp_path / "claude", "--encoding", encoding, "--batch-lines", "37")
    assert run.status == 0
    assert run.summary["lines_sent"] == written.lines
    shared = next(p for p in (tmp_path / "claude/projects").rglob("*.jsonl") if b"}{" in p.read_bytes())
    shared.write_bytes(shared.read_bytes().replace(b"}{", b"}\n{"))  # the plain reader needs a line each
    for file in (tmp_path / "claude/projects").rglob("*.jsonl"):
        wanted = lines_of(file)
        path_session = file.parent.parent.name if file.parent.name == "subagents" else file.stem
        arrived = [
            message
            for request in peer.requests
            for message in request.get("messages", [])
            if message.get("sessionId", request.get("sessionId")) == path_session
        ]
        positions = iter(arrived)
        assert all(any(line == other for other in positions) for line in wanted), file
    assert len(peer.messages) == written.lines
    assert sum(len(request.get("todos", [])) for request in peer.requests) == run.summary["todo_lists"] > 0


def test_sending_again_sends_nothing_and_after_reset_stores_nothing(send, peer, tmp_path) -> None:
    write_transcripts(tmp_path / "claude", sessions=3, lines=200, seed=4)
    first = send(tmp_path / "claude")
    posts = peer.posts
    again = send(tmp_path / "claude")
    assert (again.status, again.summary["lines_sent"], peer.posts) == (0, 0, posts)
    reset = send(tmp_path / "claude", "--reset", "--batch-lines", "10")
    assert reset.summary["stored"] == 0
    assert reset.summary["duplicate"] == first.summary["stored"] + first.summary["duplicate"]
    replayed = send(tmp_path / "claude", "--reset")
    assert (replayed.summary["stored"], replayed.summary["duplicate"]) == (0, first.summary["lines_sent"])


def grown(tmp_path: Path) -> tuple[bytes, list[int]]:
    """A transcript and the sizes at which it was seen while it grew, some in the middle of a line."""
    write_transcripts(tmp_path / "whole", sessions=1, lines=120, seed=5)
    (file,) = (
        path for path in (tmp_path / "whole/projects").rglob("*.jsonl") if "subagents" not in path.parts
    )
    content = file.read_bytes().rstrip(b"\n") + b"\n"
    return content, [len(content) // 4, len(content) // 4 + 3, len(content) // 2, len(content)]


@pytest.mark.parametrize("how", ["append", "rewrite in place", "replace"])
def test_a_growing_file_sends_only_what_is_new(how, send, peer, tmp_path) -> None:
    content, sizes = grown(tmp_path)
    file = tmp_path / "growing.jsonl"
    file.touch()
    for size in sizes:
        if how == "append":
            with file.open("ab") as handle:
                handle.write(content[file.stat().st_size : size])
        elif how == "rewrite in place":
            file.write_bytes(content[:size])
        else:
            file.with_suffix(".new").write_bytes(content[:size])
            file.with_suffix(".new").replace(file)
        send(file)
    assert peer.messages == [json.loads(line) for line in content.splitlines()]


def test_a_rewritten_or_truncated_file_is_sent_from_its_start(send, peer, tmp_path) -> None:
    file = tmp_path / "s.jsonl"
    lines = [json.dumps({"type": "user", "uuid": f"a{n}", "sessionId": "s"}) + "\n" for n in range(6)]
    file.write_text("".join(lines[:4]))
    send(file)
    file.write_text("".join([lines[0], lines[2], lines[4], lines[5]]))  # same size, same start
    run = send(file)
    assert (run.summary["stored"], run.summary["duplicate"]) == (2, 2)
    file.write_text(lines[5] + lines[1])
    run = send(file)
    assert (run.summary["lines_sent"], run.summary["duplicate"]) == (2, 2)
    assert peer.insertions == 6


def test_a_rotated_file_goes_on_where_it_was_and_its_successor_starts_anew(send, peer, tmp_path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [json.dumps({"type": "user", "uuid": f"r{n}", "sessionId": "s"}) + "\n" for n in range(6)]
    (folder / "s.jsonl").write_text("".join(lines[:2]))
    send(folder)
    (folder / "s.jsonl").rename(folder / "s.jsonl.1")
    with (folder / "s.jsonl.1").open("a") as handle:
        handle.write(lines[2])
    (folder / "s.jsonl").write_text(lines[3])
    send(folder)
    with (folder / "s.jsonl").open("a") as handle:
        handle.write(lines[4])
    send(folder)
    assert sorted(message["uuid"] for message in peer.messages) == ["r0", "r1", "r2", "r3", "r4"]


def test_an_incomplete_last_line_is_told_and_sent_once_it_is_whole(send, peer, tmp_path, corruption) -> None:
    file = tmp_path / "live.jsonl"
    shutil.copyfile(corruption / "truncated-last-line.jsonl", file)
    for _ in range(2):
        run = send(file)
        assert (run.status, run.summary["incomplete"]) == (1, 1)
    with file.open("ab") as handle:
        handle.write(b'user","uuid":"00000000-0000-4000-8000-000000000002"}')
    assert send(file).status == 0
    assert uuids(peer.messages) == ["01", "02"]


def test_the_session_of_lines_without_one_comes_from_the_name_of_the_file(send, peer, tmp_path) -> None:
    session = "11111111-2222-4333-8444-555555555555"
    (tmp_path / "p" / session / "subagents" / "workflows" / "wf_1").mkdir(parents=True)
    for name in (f"{session}.jsonl", f"{session}/subagents/workflows/wf_1/journal.jsonl", "notes.jsonl"):
        (tmp_path / "p" / name).write_text(json.dumps({"type": "mode", "in": name}))
    send(tmp_path / "p")
    assert {
        message["in"]: request.get("sessionId")
        for request in peer.requests
        for message in request["messages"]
    } == {
        f"{session}.jsonl": session,
        f"{session}/subagents/workflows/wf_1/journal.jsonl": session,
        "notes.jsonl": None,
    }


def test_todos_and_settings_of_a_claude_folder(send, peer, tmp_path) -> None:
    root = tmp_path / ".claude"
    (root / "projects" / "p").mkdir(parents=True)
    (root / "todos").mkdir()
    (root / "todos" / "s1-agent-a.json").write_text(
        '[{"content":"x","status":"pending","n":9007199254740993}]'
    )
    (root / "todos" / "s2-agent-s2.json").write_text("[]")
    (root / "todos" / "s3-agent-s3.json").write_text("[{")
    (root / "settings.json").write_text('{"hooks":{"a.b":[]}}')
    run = send(root / "projects")
    assert run.status == 1
    assert [problem["code"] for problem in run.summary["problems"]] == ["invalid_json"]
    lists = [todo for request in peer.requests for todo in request["todos"]]
    assert sorted((todo["sessionId"], todo["filename"], todo["todoCount"]) for todo in lists) == [
        ("s1", "s1-agent-a.json", 1),
        ("s2", "s2-agent-s2.json", 0),
    ]
    assert any(b'"n":9007199254740993}' in body for body in peer.raw_bodies)
    (root / "todos" / "s3-agent-s3.json").write_text("[]")
    run = send(root, "--with-settings")
    assert (run.status, run.summary["todo_lists"], run.summary["settings"]) == (0, 1, 1)
    assert {"config": {"settings": {"hooks": {"a.b": []}}}} in peer.requests
    assert send(root, "--with-settings").summary["requests"] == 0


def test_a_large_line_goes_alone_and_batches_keep_their_bounds(send, peer, tmp_path) -> None:
    file = tmp_path / "big.jsonl"
    lines = [{"type": "user", "uuid": f"b{n}", "text": "x" * (3_000_000 if n == 2 else 10)} for n in range(6)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = send(file, "--batch-bytes", "1000")
    assert [len(request["messages"]) for request in peer.requests] == [2, 1, 3]
    assert run.summary["stored"] == 6


def test_a_line_the_server_refuses_is_found_and_the_others_go_through(send, peer, tmp_path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text("".join(json.dumps({"type": "user", "uuid": f"u{n:03}"}) + "\n" for n in range(100)))
    peer.refuse_containing = b"u042"
    run = send(file)
    assert run.status == 1
    assert [(problem["line"], problem["code"]) for problem in run.summary["problems"]] == [(43, "http_400")]
    assert [message["uuid"] for message in peer.messages] == [f"u{n:03}" for n in range(100) if n != 42]
    assert f"{file}:43" not in run.errors  # --json lists it instead


def test_lines_that_only_go_one_by_one_may_be_many(send, peer, tmp_path) -> None:
    file = tmp_path / "s.jsonl"
    count = OPEN_REQUESTS + 6
    file.write_text("".join(json.dumps({"type": "user", "uuid": f"u{n}"}) + "\n" for n in range(count)))
    peer.refuse_containing = b"},{"
    run = send(file)
    assert (run.status, run.summary["stored"], run.summary["problems"]) == (0, count, [])


def test_a_request_that_fails_for_good_is_listed_line_by_line(send, peer, tmp_path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text("".join(json.dumps({"type": "user", "uuid": f"u{n}"}) + "\n" for n in range(4)))
    peer.fail_containing = b'"u1"'
    run = send(file, "--batch-lines", "2")
    assert [(problem["line"], problem["code"]) for problem in run.summary["problems"]] == [
        (1, "request_failed"), (2, "request_failed"),
    ]  # fmt: skip
    assert run.summary["stored"] == 2


def test_dry_run_reports_all_and_sends_nothing(send, peer, corruption) -> None:
    run = send(corruption, "--dry-run")
    assert (run.status, peer.posts) == (1, 0)
    assert run.summary["unsendable"] == 6
    assert send(corruption).summary["lines_sent"] == run.summary["lines_sent"] == 27


def test_an_unreadable_file_is_listed(send, tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    file = tmp_path / "s.jsonl"
    file.write_text("{}")
    file.chmod(0)
    run = send(file)
    assert [problem["code"] for problem in run.summary["problems"]] == ["unreadable"]


def test_the_same_file_by_two_paths_is_sent_once(send, peer, tmp_path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "s.jsonl"
    file.write_text('{"type":"user","uuid":"1"}\n')
    (tmp_path / "a" / "link.jsonl").symlink_to(file)
    send(tmp_path / "a", file)
    assert len(peer.messages) == 1
