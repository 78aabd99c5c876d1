"""What lies in real folders: links, pipes, names of any bytes, what may not be read, compressed files."""

import contextlib
import gzip
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ingestion_assets.conversations.sending.cli import claude_folders
from ingestion_assets.conversations.sending.sources import find_sources
from ingestion_assets.sending.cli import app
from ingestion_assets.sending.files import OpenFile, shown
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.sending.conftest import Run
from ingestion_assets_tests.sending.peer import Peer

NOBODY = 65534


def line(name: str) -> bytes:
    return json.dumps({"type": "user", "uuid": name, "sessionId": name}).encode() + b"\n"


def arrived(peer: Peer) -> list[str]:
    return sorted(message["uuid"] for message in peer.messages)


def test_linked_folders_are_searched_once_and_never_in_circles(send, peer, tmp_path) -> None:
    projects, elsewhere = tmp_path / "projects", tmp_path / "elsewhere"
    projects.mkdir()
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "a.jsonl").write_bytes(line("a"))
    (projects / "one").symlink_to(elsewhere)
    (projects / "two").symlink_to(elsewhere / "deep")
    (elsewhere / "deep" / "up").symlink_to(projects)
    (elsewhere / "todos").mkdir()
    (elsewhere / "todos" / "s-agent-s.json").write_text("[]")
    (projects / "a-link-first").symlink_to(elsewhere / "todos")
    run = send(projects)
    assert (run.status, run.summary["todo_lists"]) == (0, 1)
    assert arrived(peer) == ["a"]
    assert send(projects, elsewhere).summary["requests"] == 0


def test_names_of_any_bytes_are_sent_and_shown(send, peer, tmp_path) -> None:
    folder = os.fsencode(tmp_path / "p")
    os.mkdir(folder)  # noqa: PTH102
    for name, content in (
        (b"caf\xe9.jsonl", line("a") + b"{"),
        (b"caf\xe8.jsonl", line("b") + b"[]\n"),
        (b"l\nf.jsonl", line("c")),
    ):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(content)
    (tmp_path / "p" / "todos").mkdir()
    Path(os.fsdecode(folder + b"/todos/s\xff-agent-s.json")).write_bytes(b"[]")
    run = send(tmp_path / "p")
    assert (run.status, arrived(peer)) == (1, ["a", "b", "c"])
    assert [(Path(one["path"]).name, one["code"]) for one in run.summary["problems"]] == [
        ("caf\\xe8.jsonl", "not_an_object"), ("caf\\xe9.jsonl", "incomplete"),
    ]  # fmt: skip
    assert [todo["filename"] for request in peer.requests for todo in request.get("todos", [])] == [
        "s\\xff-agent-s.json"
    ]
    again = send(tmp_path / "p")
    assert (again.status, again.summary["requests"]) == (1, 0)
    assert shown("caf\udce9\n") == "caf\\xe9\\n"


def test_pipes_sockets_and_devices_are_passed_over(send, peer, tmp_path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(line("a"))
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "device.jsonl").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.jsonl"))
        run = send(folder)
    assert (run.status, arrived(peer)) == (0, ["a"])
    assert {Path(name).name: why for name, why in run.summary["passed_over"].items()} == {
        "pipe.jsonl": "is a pipe, not a file",
        "device.jsonl": "is a device, not a file",
        "s.jsonl": "is a socket, not a file",
    }
    named = CliRunner().invoke(app, ["claude", str(folder / "pipe.jsonl")])
    assert (named.exit_code, "a pipe" in named.stderr) == (2, True)


@pytest.mark.parametrize("flow", ["entities", "drupal"])
def test_a_pipe_or_folder_given_to_the_other_senders_is_a_sentence(flow, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    more = ["--site", "1"] if flow == "drupal" else []
    for name in ("pipe", ".", "missing", "\udce9"):
        ended = CliRunner().invoke(
            app,
            [flow, *more, "--url", "http://127.0.0.1:9", "--key", "k", str(tmp_path / name)],
            catch_exceptions=False,
        )
        assert ended.exit_code == 2
        assert ended.stderr.strip()


def test_what_cannot_be_looked_at_is_told_and_the_others_go_on(send, peer, tmp_path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(line("a"))
    (folder / "loop.jsonl").symlink_to(folder / "loop.jsonl")
    (folder / "nowhere.jsonl").symlink_to(folder / "gone")
    for _ in range(2):
        run = send(folder)
        assert (run.status, arrived(peer)) == (1, ["a"])
        assert [(Path(one["path"]).name, one["code"]) for one in run.summary["problems"]] == [
            ("loop.jsonl", "unreadable"), ("nowhere.jsonl", "unreadable"),
        ]  # fmt: skip
    assert send(folder, "--dry-run").status == 1


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Root reads everything, so be somebody else."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_folders_and_files_that_this_user_may_not_read_are_named() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        (folder / "open.jsonl").write_bytes(line("a"))
        (folder / "shut.jsonl").write_bytes(line("b"))
        for name in ("shut", "listed"):
            (folder / name).mkdir()
            (folder / name / "c.jsonl").write_bytes(line("c"))
        (folder / "linked").symlink_to(folder / "shut" / "deep")
        for name, mode in (("shut", 0), ("listed", 0o444), ("shut.jsonl", 0)):
            (folder / name).chmod(mode)
        with nobody():
            found = find_sources([folder])
            below = find_sources([folder / "shut" / "c.jsonl"])
            with pytest.raises(PermissionError):
                OpenFile(folder / "shut.jsonl")
        assert {Path(name).name for name in found.unreadable} == {"shut", "c.jsonl", "linked"}
        assert {source.path.name for source in found.sources} == {"open.jsonl", "shut.jsonl"}
        assert [one.code for one in below.unreadable.values()] == ["unreadable"]
    finally:
        for name in ("shut", "listed"):
            (folder / name).chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["", "cut", "flipped", "trailer", "garbage"])
def test_a_compressed_transcript_is_sent_as_far_as_it_is_whole(damage, send, peer, tmp_path) -> None:
    text = b"".join(line(f"{n:05}") for n in range(3000))
    packed = bytearray(gzip.compress(text, compresslevel=1))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "flipped":
        packed[len(packed) // 2 : len(packed) // 2 + 64] = b"\xff" * 64
    elif damage == "trailer":
        packed[-8] ^= 1
    elif damage == "garbage":
        packed += b"garbage"
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    run = send(tmp_path / "a.jsonl.gz")
    sent = arrived(peer)
    assert sent == [f"{n:05}" for n in range(len(sent))]
    codes = [problem["code"] for problem in run.summary["problems"]]
    assert (run.status, codes) == (
        (1, ["incomplete" if damage == "cut" else "damaged"]) if damage else (0, [])
    )
    assert len(sent) == 3000 if damage in {"", "trailer", "garbage"} else 500 < len(sent) < 3000
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))  # whole again, packed otherwise
    again = send(tmp_path / "a.jsonl.gz")
    assert (again.status, again.summary["lines_sent"]) == (0, 3000 - len(sent))
    assert arrived(peer) == [f"{n:05}" for n in range(3000)]


def test_a_growing_and_a_rotated_compressed_file_go_on_where_they_were(send, peer, tmp_path) -> None:
    file, packed = tmp_path / "a.jsonl.1", tmp_path / "a.jsonl.1.gz"
    file.write_bytes(line("a"))
    send(tmp_path)
    packed.write_bytes(gzip.compress(line("a") + line("b")))
    file.unlink()
    assert send(tmp_path).summary["lines_sent"] == 1
    with packed.open("ab") as handle:
        handle.write(gzip.compress(line("c")) + b"\0" * 100)
    assert send(tmp_path).summary["lines_sent"] == 1
    assert arrived(peer) == ["a", "b", "c"]
    assert send(tmp_path).summary["files_unchanged"] == 1


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_damaged_files_of_messages_are_sent_as_far_as_they_are_whole(suffix, peer, tmp_path) -> None:
    import zstandard  # noqa: PLC0415

    text = b"".join(b"C|%d|%s\n" % (n, os.urandom(20).hex().encode()) for n in range(20_000))
    packed = gzip.compress(text) if suffix == "gz" else zstandard.compress(text)
    (tmp_path / "m").write_bytes(packed[: len(packed) // 2])
    command = [
        "entities",
        "--url",
        peer.url,
        "--key",
        "k",
        "--json",
        "--state",
        str(tmp_path / "s.json"),
        str(tmp_path / "m"),
    ]
    ended = CliRunner().invoke(app, command, catch_exceptions=False)
    assert ended.exit_code == 1
    assert "ends in the middle" in json.loads(ended.stdout)["problems"][0]
    (sent,) = (content for (_, channel), content in peer.streams.items() if channel == "0")
    assert text.startswith(sent)
    assert sent.endswith(b"\n")
    assert 5_000 < sent.count(b"\n") < 20_000
    (tmp_path / "m").write_bytes(packed)
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert text in peer.streams.values()


def test_a_pipe_with_a_writer_is_read_for_drupal(peer, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    entry = {"package": "Core", "display_name": "A (a)", "status": "Enabled", "version": "10.2.1"}
    writing = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writing, json.dumps({"a": entry}).encode())
    timer = threading.Timer(0.3, os.close, (writing,))
    timer.start()
    ended = CliRunner().invoke(
        app, ["drupal", "--site", "1", "--dry-run", "--url", peer.url, "--key", "k", str(tmp_path / "pipe")]
    )
    timer.join()
    assert (ended.exit_code, ended.stdout) == (0, "1 modules would be sent.\n")


def test_the_folders_that_claude_code_is_told_of(tmp_path, monkeypatch) -> None:
    home = tmp_path / "home"
    for name in ("home/.claude", "one", "two", "a,b"):
        (tmp_path / name / "projects").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert claude_folders(None) == claude_folders("") == [home / ".claude" / "projects"]
    assert claude_folders(f"{tmp_path}/one") == [tmp_path / "one" / "projects"]
    both = [tmp_path / "one" / "projects", tmp_path / "two" / "projects"]
    assert claude_folders(f"{tmp_path}/one, {tmp_path}/two/projects") == both
    assert claude_folders(f"{tmp_path}/a,b") == [tmp_path / "a,b" / "projects"]


def test_the_variable_of_claude_code_is_honoured(send: Callable[..., Run], peer, tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "projects").mkdir(parents=True)
        (tmp_path / name / "projects" / f"{name}.jsonl").write_bytes(line(name))
        (tmp_path / name / "settings.json").write_text("{}")
    with environment(CLAUDE_CONFIG_DIR=f"{tmp_path}/one,{tmp_path}/two"):
        assert (send().status, arrived(peer)) == (0, ["one", "two"])
        assert send("--with-settings").summary["settings"] == 2
