"""What hinders a stack from starting is told in a sentence that says what to do, with exit status 1."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingestion_assets.stack.failures import advice
from ingestion_assets.stack.leftovers import leftovers
from ingestion_assets.stores.embedded import (
    LOOPBACK,
    EmbeddedServer,
    embedded_mongodb,
    embedded_postgres,
    embedded_valkey,
    free_port,
)
from ingestion_assets.stores.privileges import unprivileged_user
from ingestion_assets.stores.shared_programs import open_to_everybody
from ingestion_assets_tests.stacks import clean_environment


def _ingestion(home: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    ports = {"port": free_port(), "webserver_port": free_port()}
    return subprocess.run(
        (sys.executable, "-m", "ingestion_assets.cli", *arguments),
        env=clean_environment(home, **ports | settings), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def _is_a_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "╭" not in done.stderr
    assert done.stderr.startswith("ingestion"), done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("command", [("up",), ("up", "--detach"), ("status",), ("down",)])
def test_a_home_that_cannot_be(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    done = _ingestion(tmp_path / "file" / "home", *command)
    _is_a_sentence(done, str(tmp_path / "file"), "set INGESTION_HOME to another folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_home_that_this_user_may_not_write(tmp_path: Path) -> None:
    user = unprivileged_user()
    assert user is not None
    if not open_to_everybody(Path(sys.executable)):
        pytest.skip(f"{user.pw_name} cannot reach {Path(sys.executable).resolve()}")
    done = subprocess.run(
        (sys.executable, "-m", "ingestion_assets.cli", "up"), env=clean_environment(tmp_path / "home"),
        user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    _is_a_sentence(done, str(tmp_path), "this user may not use it")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL itself")
def test_root_of_a_namespace_that_has_no_other_account(tmp_path: Path) -> None:
    namespace = ("unshare", "--user", "--map-root-user")
    if subprocess.run((*namespace, "true"), check=False, capture_output=True).returncode != 0:
        pytest.skip("no user namespace can be made here")
    ports = {"port": free_port(), "webserver_port": free_port()}
    done = subprocess.run(
        (*namespace, sys.executable, "-m", "ingestion_assets.cli", "up", "--quiet"),
        env=clean_environment(tmp_path / "home", **ports), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    _is_a_sentence(done, "start it as an ordinary user")


def test_a_setting_that_is_no_value_of_its_kind_is_named_without_the_value(tmp_path: Path) -> None:
    done = _ingestion(tmp_path, "up", drain_s="hunter2")
    assert done.returncode == 2
    assert done.stderr.startswith("ingestion: INGESTION_DRAIN_S: Input should be a valid number")
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_needs_a_stack_says_how_to_get_one(tmp_path: Path) -> None:
    done = _ingestion(tmp_path, "receipts", "list")
    assert done.returncode == 2
    assert "start one with `ingestion up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dagster_yaml_of_the_users_own_that_is_not_yaml(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("run_launcher: {password: hunter2", encoding="utf-8")
    done = _ingestion(tmp_path, "up", "--quiet")
    _is_a_sentence(done, "dagster.yaml is not YAML at line 1", "correct it, or remove it")
    assert "hunter2" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home with room for little."""
    home = tmp_path / "small"
    home.mkdir()
    command = ("/bin/mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(home))
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield home
    subprocess.run(("/bin/umount", "--lazy", str(home)), check=True)


@pytest.mark.slow
def test_a_disk_that_is_too_small(small_disk: Path) -> None:
    _is_a_sentence(_ingestion(small_disk, "up", "--quiet"), "postgres", "the disk is full: make room")
    assert leftovers(small_disk) == []


def _valkey_garbage(home: Path) -> None:
    (home / "valkey" / "appendonlydir").mkdir(parents=True)
    (home / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("rubbish\n", encoding="ascii")


def _mongodb_a_file(home: Path) -> None:
    (home / "mongodb").mkdir()
    (home / "mongodb" / "data").write_text("rubbish\n", encoding="ascii")


def _postgres_of_another_release(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(mode=0o700, parents=True)
    (data / "PG_VERSION").write_text("9\n", encoding="ascii")
    user = unprivileged_user()
    if user is not None:
        for path in (data, data / "PG_VERSION"):
            os.chown(path, user.pw_uid, user.pw_gid)


@pytest.mark.slow
def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    """One stack for each server, all at once: most of the time supervisord waits before it tries again."""
    damages: dict[str, Callable[[Path], None]] = {
        "postgres": _postgres_of_another_release, "mongodb": _mongodb_a_file, "valkey": _valkey_garbage,
    }  # fmt: skip
    homes = {name: tmp_path / name for name in damages}
    for name, damage in damages.items():
        homes[name].mkdir()
        damage(homes[name])
    with ThreadPoolExecutor() as pool:
        tries = {name: pool.submit(_ingestion, home, "up", "--quiet") for name, home in homes.items()}
    for name, tried in tries.items():
        _is_a_sentence(tried.result(), name)
        assert leftovers(homes[name]) == []


@pytest.mark.parametrize("make", [embedded_postgres, embedded_mongodb, embedded_valkey])
def test_a_port_that_was_taken_meanwhile_is_known_by_each_servers_own_words(
    tmp_path: Path, make: Callable[..., EmbeddedServer]
) -> None:
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, 0))
        stranger.listen()
        server = make(folder=tmp_path / "server", port=stranger.getsockname()[1])
        server.prepare()
        done = subprocess.run(
            server.command, cwd=server.folder, env=os.environ | dict(server.environment), timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    told = advice(done.stdout.splitlines()[-15:])
    assert told is not None, done.stdout
    assert "start again" in told
