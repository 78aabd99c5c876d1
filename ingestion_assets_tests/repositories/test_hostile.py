"""Hostile and odd repositories, served over HTTP, through the whole of a run one after the other: each ends as expected, in time, with
nothing left, written elsewhere or fetched later, and harms not the next.

`INGESTION_LONG_TESTS=1` takes the large ones too.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories.conftest import LONG
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.repositories.git_server import Server, answering, serving
from ingestion_assets_tests.repositories.git_watch import GitWatch, git_watch
from ingestion_assets_tests.repositories.runs import DirectRuns
from ingestion_assets_tests.servers import wait_until

LONGEST_S = 60  # of processor time: others may work beside
MOST_BYTES = 1_500_000_000

# What is embedded by language, what is skipped by reason; or the code of the failure.
EXPECTED: dict[str, dict[str, int] | str] = {
    "empty": {},
    "unborn-head": {},
    "other-default": {"python": 1},
    "no-code": {"unsupported_language": 1},
    "symlinks": {"python": 1, "symlink": 6},
    "submodule": "fsck",
    "attributes": {"python": 1, "javascript": 1, "generated": 1, "lfs_pointer": 1, "unsupported_language": 3},
    "case-collision": {"python": 3},
    "unicode-collision": {"python": 2},
    "odd-names": {"python": 12},
    "traversal": "fsck",
    "dot-git-inside": "fsck",
    "bare-inside": {"python": 1, "unsupported_language": 2},
    "encodings": {"python": 3, "javascript": 2, "go": 1, "rust": 1, "binary": 3},
    "deep-source": {"python": 1, "too_deep": 5},
    "minified": {"javascript": 1, "too_large": 1},
    "deep-tree": {"python": 2},
    "tree-bomb": "too_many_paths",
    "import-cycle": {"python": 3},
    "secrets": {"python": 1},
    "prompt-names": {"python": 2, "javascript": 1},
    "alternates": {"python": 1},
    "dangling": "incomplete",
    "many-refs": {"python": 1},
}
LARGE: dict[str, dict[str, int] | str] = {
    "big-blob": {"python": 1, "too_large": 1},
    "many-files": {"python": 20_000, "over_limit": 80_000},
}
TAKEN = EXPECTED | (LARGE if LONG else {})


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitWatch | None:
    """A watch over every git program of the test, where the system has a tracer."""
    made = git_watch(tmp_path / "watch")
    if made is not None:
        monkeypatch.setenv("PATH", str(made.programs), prepend=os.pathsep)
    return made


@pytest.fixture
def server(hostile: Path) -> Iterator[Server]:
    with (
        answering(serving(hostile)) as running,
        environment(INGESTION_REPOSITORIES_PRIVATE_HOSTS=running.host),
    ):
        yield running


def test_every_repository_has_an_expectation(hostile: Path) -> None:
    assert {one.stem for one in hostile.glob("*.git")} == set(TAKEN)


def test_the_watch_sees_what_git_writes_elsewhere_and_connects_to(
    watch: GitWatch | None, tmp_path: Path
) -> None:
    if watch is None:
        pytest.skip("there is no strace")
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        GitRepository(folder, program=watch.git)
        assert bool(watch.outside(inside)) == (folder == outside)
    subprocess.run([watch.git, "ls-remote", "-q", "http://127.0.0.1:9/x"], check=False, capture_output=True)
    assert watch.addresses() == {("127.0.0.1", 9)}


@pytest.mark.timeout(1200)
def test_each_has_its_outcome(
    hostile: Path,
    server: Server,
    front: Front,
    watch: GitWatch | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    runs = DirectRuns(front.engine, front.settings, RepositoriesSettings(private_hosts=server.host))
    with front.client() as client, memory_seen() as memory:
        for name, expected in TAKEN.items():
            job = client.post(f"/api/v1/ingestion/ingest/{server.host}/{name}").raise_for_status().json()
            began, spent = time.monotonic(), sum(os.times()[:4])
            server.asked.clear()
            (outcome,) = runs.run(job["repository"])
            print(f"{name}: {time.monotonic() - began:.1f} s, {outcome.result['status']}")
            assert sum(os.times()[:4]) - spent < LONGEST_S, name
            assert [one[0] for one in server.asked].count("GET") == 1, (
                "git went back to the server after the clone"
            )
            assert list(runs.scratch.iterdir()) == [], name
            wait_until(lambda: not _programs(), seconds=5, what="every program to end")
            (ended,) = client.get("/api/v1/ingestion/jobs/history?limit=1").json()["jobs"]
            assert ended["job_id"] == job["job_id"], name
            if isinstance(expected, str):
                assert (ended["status"], outcome.errors[0]["code"]) == ("failed", expected), name
                assert len(ended["error"]) > 20, name
                continue
            assert ended["status"] == "complete", (name, ended)
            listed = {
                one["repository"]: one
                for one in client.get("/api/v1/repositories", params={"limit": 100}).json()["items"]
            }
            stored = listed[job["repository"]]
            assert {**stored["languages"], **stored["reasons"]} == expected, name
            assert stored["embedded"] == ended["files_processed"] == ended["embeddings_generated"], name
            files = client.get(
                f"/api/v1/repositories/{job['repository']}/files", params={"limit": 100}
            ).json()["items"]
            assert all(one["path"].isprintable() for one in files), name
            for file in [one for one in files if one["state"] == "embedded"][
                :20
            ]:  # what is shown can be asked for
                similar = client.get(
                    f"/api/v1/repositories/{job['repository']}/similar", params={"path": file["path"]}
                )
                assert similar.status_code == 200, (name, file["path"], similar.text)
    assert max(memory) < MOST_BYTES
    assert not list(elsewhere.iterdir())
    assert not [*tmp_path.rglob("PWNED"), *hostile.rglob("PWNED")]
    if watch is None:
        pytest.skip("there is no strace: what git writes and connects to was not watched")
    assert watch.addresses() == {("127.0.0.1", server.port)}
    assert watch.outside(runs.scratch, hostile) == []


@contextmanager
def memory_seen() -> Iterator[list[int]]:
    """Bytes that this process, more than before, and each program of a run held, time after time."""
    own = psutil.Process()
    before, seen, ended = own.memory_info().rss, [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            seen.append(own.memory_info().rss - before)
            for child in _programs():
                with suppress(psutil.NoSuchProcess):
                    seen.append(child.memory_info().rss)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        yield seen
    finally:
        ended.set()
        watch.join()


def _programs() -> list[psutil.Process]:
    """Git and parsers; not git's server, which the test has."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if "extraction" in " ".join(_command(one)) or "prlimit" in _command(one)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
