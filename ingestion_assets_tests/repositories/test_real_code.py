"""Imports of code that people wrote: installed packages, and bare clones in the folder that `INGESTION_TEST_REPOSITORIES` names."""

import importlib.util
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.file_states import states
from ingestion_assets.repositories.graph import CodeGraph, build, manifest
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.source_facts import Source
from ingestion_assets.repositories.source_parsing import parse_all
from ingestion_assets.repositories.trees import entries, read

LEAST = 0.93
_RELATIVE = frozenset({"python", "javascript", "typescript", "tsx"})
_FOLDER = os.environ.get("INGESTION_TEST_REPOSITORIES")
_CLONES = sorted({one.parent for one in Path(_FOLDER).glob("**/packed-refs")}) if _FOLDER else []


@pytest.mark.parametrize("package", ["celery", "httpx", "sqlalchemy", "hypothesis"])
def test_relative_imports_of_installed_packages_resolve(package: str) -> None:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed")
    folder = Path(found.origin).parent
    sources = (
        Source(bytes(one.relative_to(folder.parent)), b"", "python", one.read_bytes())
        for one in sorted(folder.rglob("*.py"))
    )
    _assert_resolved(_graph(sources, {}))


@pytest.mark.skipif(not _CLONES, reason="INGESTION_TEST_REPOSITORIES names no folder with bare clones")
@pytest.mark.parametrize("clone", _CLONES or [None], ids=lambda one: one.parent.name if one else "none")
def test_relative_imports_of_clones_resolve(clone: Path, tmp_path: Path) -> None:
    bare, limits = tmp_path / "repository.git", RepositoriesSettings()
    git = ["git", "-c", "safe.directory=*"]
    subprocess.run([*git, "clone", "-q", "--bare", "--shared", str(clone), str(bare)], check=True)
    commit, tree = (
        subprocess.check_output([*git, "--git-dir", str(bare), "rev-parse", one], text=True).strip()
        for one in ("HEAD", "HEAD^{tree}")
    )
    snapshot = Snapshot(bare, commit, tree, None)
    files = list(states(snapshot, entries(snapshot, limits), limits))
    embedded = {file.path: file for file in files if file.state == "embedded"}
    wanted = {file.path: file.blob for file in files if file.path in embedded or manifest(file.path)}
    contents = dict(read(snapshot, sorted(set(wanted.values())), limits))
    sources = (Source(path, b"", file.language or "", contents[file.blob]) for path, file in embedded.items())
    manifests = {path: contents[blob] for path, blob in wanted.items() if manifest(path) and blob in contents}
    _assert_resolved(_graph(sources, manifests))


def _graph(sources: Iterable[Source], manifests: dict[bytes, bytes]) -> CodeGraph:
    parsed = {one.path: one for one in parse_all(sources, lambda: False)}
    assert {one.error for one in parsed.values()} == {None}
    return build(parsed, manifests)


def _assert_resolved(graph: CodeGraph) -> None:
    lost = graph.unresolved_relative()
    shares = {language: 1 - lost[language] for language in lost if language in _RELATIVE}
    print(shares)
    assert all(share >= LEAST for share in shares.values()), graph.unresolved
    assert graph.edges
