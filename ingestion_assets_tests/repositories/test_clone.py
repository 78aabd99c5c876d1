"""Clones: only from checked addresses, without redirects, with credentials that nobody sees, ended in time, and nothing left."""

import base64
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ingestion_assets.repositories.addresses import Repository, parse
from ingestion_assets.repositories.clone import CloneError, clone, tip
from ingestion_assets.repositories.file_states import states
from ingestion_assets.repositories.trees import entries, read
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.repositories.git_server import (
    GIT,
    Limited,
    answering,
    never_ending,
    redirecting,
    serving,
)
from ingestion_assets_tests.servers import wait_until

_GIT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
}  # fmt: skip
FILES = {"a.py": b"def a(): pass\n", "deep/b.go": b"package b\n", "big.js": b"x" * 5000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with `made.git`: the branches `main` and `other`, the annotated tag `v1`."""
    made = tmp_path / "root" / "made.git"
    work = tmp_path / "work"
    work.mkdir()
    for name, content in FILES.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_bytes(content)

    def git(*arguments: str) -> None:
        subprocess.run([GIT, *arguments], cwd=work, env=_GIT, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "-am", "v1", "v1")
    git("checkout", "-qb", "other")
    git("rm", "-q", "a.py")
    git("commit", "-qm", "two")
    git("checkout", "-q", "main")
    git("clone", "-q", "--bare", ".", str(made))
    return made.parent


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_what_a_reader_does_between_two_blobs_is_no_time_of_git(tmp_path: Path, scratch: Path) -> None:
    made, limits = GitRepository(tmp_path / "many"), Limited(clone_s=1)
    made.commit({f"{number}.txt": f"{number}\n" * 20_000 for number in range(8)})
    snapshot = clone(parse(str(made.folder), [], [str(tmp_path)]), None, scratch, limits)
    blobs = [one.blob for one in entries(snapshot, limits)]
    read_of = []
    for blob, _ in read(snapshot, blobs, limits):
        time.sleep(0.3)
        read_of.append(blob)
    assert read_of == blobs


def test_names_of_other_refs_may_be_any_bytes(tmp_path: Path, scratch: Path) -> None:
    made = GitRepository(tmp_path / "odd")
    commit = made.commit({"a.py": "x = 1\n"})
    with (made.folder / "packed-refs").open("wb") as refs:
        refs.write(commit.encode() + b" refs/heads/\xe9t\xe9/HEAD\n")
    assert tip(parse(str(made.folder), [], [str(tmp_path)]), None, scratch, Limited()) == commit


def test_a_reader_that_is_asked_to_stop_reads_no_further(root: Path, scratch: Path) -> None:
    snapshot = clone(parse(f"{root}/made", [], [str(root)]), None, scratch, Limited())
    with pytest.raises(CloneError) as ended:
        list(
            read(
                snapshot, [one.blob for one in entries(snapshot, Limited())], Limited(), stopped=lambda: True
            )
        )
    assert ended.value.code == "stopped"


def test_a_worker_without_git_says_so(root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = scratch / "programs"
    programs.mkdir()
    for name in ("prlimit", "setpriv", "timeout"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(CloneError, match=r"not installed with the worker: .*git") as missing:
        clone(parse(f"{root}/made", [], [str(root)]), None, scratch, Limited())
    assert missing.value.code == "no_program"


@pytest.mark.parametrize("served", ["http", "local"])
def test_branches_and_tags(root: Path, scratch: Path, served: str) -> None:
    with answering(serving(root)) as server:
        local = parse(f"{root}/made", [], [str(root)])
        repository = local if served == "local" else server.repository("made")
        for ref, branch, paths in (
            (None, "main", {b"a.py", b"big.js", b"deep/b.go"}),
            ("other", "other", {b"big.js", b"deep/b.go"}),
            ("v1", None, {b"a.py", b"big.js", b"deep/b.go"}),
        ):
            snapshot = clone(repository, ref, scratch, Limited())
            assert (snapshot.branch, snapshot.commit) == (branch, tip(repository, ref, scratch, Limited()))
            found = list(entries(snapshot, Limited()))
            assert {one.path for one in found} == paths
            contents = dict(read(snapshot, [one.blob for one in found], Limited()))
            assert all(contents[one.blob] == FILES[one.path.decode()] for one in found)
        first = tip(repository, "v1", scratch, Limited()) or ""
        by_id = clone(repository, first, scratch, Limited())
        assert (by_id.branch, by_id.commit, tip(repository, first, scratch, Limited())) == (
            None,
            first,
            first,
        )
        assert {one.path for one in entries(by_id, Limited())} == {b"a.py", b"big.js", b"deep/b.go"}
        for missing in ("none", "0" * 40, blob_in(root / "made.git")):
            with pytest.raises(CloneError) as refused:
                clone(repository, missing, scratch, Limited())
            assert refused.value.code == "ref_not_found", refused.value
        assert tip(repository, "none", scratch, Limited()) is None
    assert len(list(scratch.iterdir())) == 4


def blob_in(repository: Path) -> str:
    """The id of a file's content: an object, but no commit."""
    found = subprocess.run([GIT, "rev-parse", "main:a.py"], cwd=repository, check=True, capture_output=True)
    return found.stdout.decode().strip()


def test_a_file_above_the_limit_stays_away_and_is_not_fetched_later(root: Path, scratch: Path) -> None:
    limits = Limited(max_file_bytes=4999)
    with answering(serving(root)) as server:
        snapshot = clone(server.repository("made.git"), None, scratch, limits)
        asked = len(server.asked)
        found = {one.path: one for one in states(snapshot, entries(snapshot, limits), limits)}
        assert len(list(read(snapshot, [found[b"big.js"].blob, found[b"a.py"].blob], Limited()))) == 1
        assert len(server.asked) == asked
    assert found[b"big.js"].reason == "too_large"
    assert found[b"a.py"].state == "embedded"


def test_the_largest_file_that_is_allowed_is_there(root: Path, scratch: Path) -> None:
    limits = Limited(max_file_bytes=5000)
    snapshot = clone(parse(f"{root}/made", [], [str(root)]), None, scratch, limits)
    found = {one.path: one for one in states(snapshot, entries(snapshot, limits), limits)}
    assert (found[b"big.js"].state, found[b"big.js"].size) == ("embedded", 5000)


def test_a_server_without_filters_sends_all_and_the_size_is_told(root: Path, scratch: Path) -> None:
    limits = Limited(max_file_bytes=4999)
    with answering(serving(root, filters=False)) as server:
        snapshot = clone(server.repository("made"), None, scratch, limits)
    found = {one.path: one for one in states(snapshot, entries(snapshot, limits), limits)}
    assert (found[b"big.js"].reason, found[b"big.js"].measure) == ("too_large", 5000)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(scratch: Path, root: Path, code: int) -> None:
    with (
        answering(serving(root)) as forbidden,
        answering(redirecting(code, forbidden.host)) as server,
    ):
        for act in (
            lambda one: clone(one, None, scratch, Limited()),
            lambda one: tip(one, None, scratch, Limited()),
        ):
            with pytest.raises(CloneError) as refused:
                act(server.repository("made.git"))
            assert refused.value.code == "redirected"
        assert server.asked
        assert not forbidden.asked
    assert not list(scratch.iterdir())


def test_a_resolver_that_changes_its_answer_reaches_nothing_forbidden(root: Path, scratch: Path) -> None:
    """The first answer is pinned: git goes there, and asks no resolver itself."""
    with answering(serving(root)) as forbidden:
        answers = iter([["203.0.113.1", "127.0.0.1"], ["127.0.0.1"], []])
        public = Repository(f"localhost:{forbidden.port}", "made", "http")
        for _ in range(3):
            with pytest.raises(CloneError) as refused:
                clone(public, None, scratch, Limited(), lookup=lambda *_: next(answers))
            assert refused.value.code == "forbidden_address"
        # A public address at the check: git must go to that one, though `localhost` is this machine for everybody else.
        with pytest.raises(CloneError) as refused:
            clone(public, None, scratch, Limited(clone_s=2), lookup=lambda *_: ["192.88.99.1"])
        assert refused.value.code in {"not_reached", "clone_timeout"}
        assert not forbidden.asked
        pinned = forbidden.repository("made", "git.example")
        assert clone(pinned, None, scratch, Limited(), lookup=lambda *_: ["127.0.0.1"]).commit
        assert forbidden.asked


def test_a_credential_reaches_its_host_and_no_message(root: Path, scratch: Path) -> None:
    secret = "planted-0f9e"
    header = "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()
    with answering(serving(root, header)) as server:
        assert clone(server.repository("made"), None, scratch, Limited(), credential=f"user:{secret}").commit
        for wrong in (None, f"user:{secret}-old"):
            with pytest.raises(CloneError) as refused:
                clone(server.repository("made"), None, scratch, Limited(), credential=wrong)
            assert refused.value.code == "not_permitted"
            assert secret not in str(refused.value)
    kept = [one for one in scratch.rglob("*") if one.is_file() and header.encode()[6:] in one.read_bytes()]
    assert not kept


def test_a_credential_is_on_no_command_line(scratch: Path) -> None:
    stop = threading.Event()
    with answering(never_ending) as server:
        seen: list[str] = []

        def look() -> bool:
            if server.working.is_set():
                children = psutil.Process().children(recursive=True)
                seen.extend(part for one in children for part in one.cmdline())
                stop.set()
            return stop.is_set()

        with pytest.raises(CloneError):
            clone(
                server.repository("x"), None, scratch, Limited(), credential="user:planted-0f9e", stopped=look
            )
    coded = base64.b64encode(b"user:planted-0f9e").decode()
    assert any("clone" in one for one in seen)
    assert not [one for one in seen if "planted" in one or coded in one]


def _programs_of_git() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "git" in one.name()]


def test_a_stop_ends_git_at_once(scratch: Path) -> None:
    with answering(never_ending) as server:
        with pytest.raises(CloneError) as stopped:
            clone(server.repository("x"), None, scratch, Limited(), stopped=server.working.is_set)
        assert stopped.value.code == "stopped"
        wait_until(lambda: not _programs_of_git(), seconds=5, what="git to end")
    assert not list(scratch.iterdir())


def test_limits_are_named(root: Path, scratch: Path) -> None:
    with answering(never_ending) as server:
        began = time.monotonic()
        with pytest.raises(CloneError, match="INGESTION_REPOSITORIES_CLONE_S") as late:
            clone(server.repository("x"), None, scratch, Limited(clone_s=1))
        assert late.value.code == "clone_timeout"
        assert time.monotonic() - began < 15
    with answering(serving(root)) as server:
        with pytest.raises(CloneError, match="INGESTION_REPOSITORIES_MAX_CLONE_BYTES") as large:
            clone(server.repository("made"), None, scratch, Limited(max_clone_bytes=100))
        assert large.value.code == "clone_too_large"
        with pytest.raises(CloneError) as missing:
            clone(server.repository("none"), None, scratch, Limited())
        assert missing.value.code == "not_found"
    assert not list(scratch.iterdir())


def test_git_ends_with_a_killed_parent(scratch: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ingestion_assets.repositories.clone import clone;"
        "from ingestion_assets_tests.repositories.git_server import Limited, Server;"
        "clone(Server(int(sys.argv[1])).repository('x'), None, Path(sys.argv[2]), Limited())"
    )
    with answering(never_ending) as server:
        worker = subprocess.Popen([sys.executable, "-c", code, str(server.port), str(scratch)])
        wait_until(server.working.is_set, seconds=30, what="the clone to begin")
        children = psutil.Process(worker.pid).children(recursive=True)
        assert children
        worker.kill()
        worker.wait()
        wait_until(lambda: not any(map(_lives, children)), seconds=5, what="git to end")
    assert len(list(scratch.iterdir())) == 1, "what is left lies in the scratch folder, where it is swept"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
