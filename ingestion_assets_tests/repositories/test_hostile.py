"""Hostile and odd repositories, served over HTTP: each ends as expected, in time, with nothing left and nothing fetched later."""

import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ingestion_assets.repositories.clone import CloneError, clone
from ingestion_assets.repositories.files import states
from ingestion_assets.repositories.trees import entries
from ingestion_assets_tests.repositories.git_server import Limited, Server, answering, serving
from ingestion_assets_tests.servers import wait_until

LONGEST_S = 60
MOST_KIB = 1_500_000

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
    "deep-source": {"python": 3, "javascript": 2, "java": 1},
    "minified": {"javascript": 1, "too_large": 1},
    "deep-tree": {"python": 2},
    "tree-bomb": "too_many_paths",
    "import-cycle": {"python": 3},
    "secrets": {"python": 1},
    "prompt-names": {"python": 2, "javascript": 1},
    "alternates": {"python": 1},
    "dangling": "incomplete",
    "many-refs": {"python": 1},
    "big-blob": {"python": 1, "too_large": 1},
    "many-files": {"python": 20_000, "over_limit": 80_000},
}


@pytest.fixture(scope="module")
def server(hostile: Path) -> Iterator[Server]:
    with answering(serving(hostile)) as running:
        yield running


def test_every_repository_has_an_expectation(hostile: Path) -> None:
    assert {one.stem for one in hostile.glob("*.git")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_ends_as_expected_and_leaves_nothing(
    hostile: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scratch, elsewhere = tmp_path / "scratch", tmp_path / "elsewhere"
    scratch.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    began, expected, asked = time.monotonic(), EXPECTED[name], -1
    try:
        snapshot = clone(server.repository(f"{name}.git"), None, scratch, Limited())
        asked = len(server.asked)
        found = list(states(snapshot, entries(snapshot, Limited()), Limited()))
        assert Counter(one.reason or one.language for one in found) == expected
        assert (snapshot.commit is None) == (not found)
    except CloneError as error:
        assert error.code == expected, error
        assert len(str(error)) > 20
    assert time.monotonic() - began < LONGEST_S
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MOST_KIB
    assert asked in {-1, len(server.asked)}, "git went back to the server after the clone"
    assert not list(elsewhere.iterdir())
    assert not [*tmp_path.rglob("PWNED"), *hostile.rglob("PWNED")]
    assert not [one for one in tmp_path.rglob("*") if one.is_symlink()]
    wait_until(lambda: not _git_programs(), seconds=5, what="every git program to end")


def _git_programs() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.name().startswith("git")]
