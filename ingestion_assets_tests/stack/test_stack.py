"""A whole stack, started, hurt and stopped as a user would."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from ingestion_assets.stack.leftovers import leftovers
from ingestion_assets.stack.places import Places
from ingestion_assets.stores.embedded import free_port, mongodb_answers, postgres_answers, redis_answers
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack, clean_environment, launch, until_ready

pytestmark = pytest.mark.slow


def _ingestion(home: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "ingestion_assets.cli", *arguments), env=clean_environment(home, **settings),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return answer.status == 200
    except OSError:
        return False


def _with_results(stack: RunningStack) -> bool:
    return httpx.get(f"{stack.url}/health/ready", timeout=5).json()["with_results"]


def test_it_is_ready_and_tells_so(stack: RunningStack) -> None:
    assert _answers(f"{stack.url}/health/ready")
    assert _answers(f"{stack.dagster_url}/server_info")
    wait_until(
        lambda: _with_results(stack), seconds=60, what="the front door to know that runs can be started"
    )
    status = _ingestion(stack.home, "status")
    assert status.returncode == 0, status.stdout
    assert stack.url in status.stdout
    assert (stack.home / "admin_token").stat().st_mode & 0o077 == 0
    assert (stack.home / "admin_token").read_text(encoding="ascii").strip() == stack.admin_token


def test_env_makes_the_shell_use_the_stack(stack: RunningStack) -> None:
    command = (
        f'eval "$({sys.executable} -m ingestion_assets.cli env)" && {sys.executable} -c "'
        "import os, psycopg; print(psycopg.connect(os.environ['INGESTION_POSTGRES_URL']).info.dbname)\""
    )
    done = subprocess.run(
        ("/bin/sh", "-c", command),
        env=clean_environment(stack.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "ingestion", done.stderr


def test_dagsters_tables_are_in_public_and_ours_in_their_schema(stack: RunningStack) -> None:
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        tables = connection.execute("SELECT schemaname, tablename FROM pg_tables").fetchall()
    assert ("public", "runs") in tables
    assert ("ingestion", "drops") in tables
    assert ("ingestion", "runs") not in tables


def test_a_second_up_in_the_same_home_says_who_has_it(stack: RunningStack) -> None:
    done = _ingestion(stack.home, "up", port=free_port(), webserver_port=free_port())
    assert done.returncode == 1
    assert f"already runs in {stack.home} (process {stack.process.pid})" in done.stderr
    assert _answers(f"{stack.url}/health/ready")


def test_a_taken_port_is_named_with_its_setting(stack: RunningStack, tmp_path: Path) -> None:
    port = stack.url.rpartition(":")[2]
    done = _ingestion(tmp_path, "up", port=port, webserver_port=free_port())
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "INGESTION_PORT" in done.stderr
    assert leftovers(tmp_path) == []


_WORKS: dict[str, Callable[[RunningStack], bool]] = {
    "frontdoor": lambda stack: _answers(f"{stack.url}/health/ready"),
    "webserver": lambda stack: _answers(f"{stack.dagster_url}/server_info"),
    "postgres": lambda stack: postgres_answers(stack.environment["INGESTION_POSTGRES_URL"]),
    "mongodb": lambda stack: mongodb_answers(stack.environment["INGESTION_MONGODB_URL"]),
    "valkey": lambda stack: redis_answers(stack.environment["INGESTION_REDIS_URL"]),
}


@pytest.mark.parametrize("program", _WORKS)
def test_what_dies_is_started_again(stack: RunningStack, program: str) -> None:
    before = stack.pid_of(program)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: stack.pid_of(program) not in (0, before), seconds=20, what=f"a new {program}")
    wait_until(lambda: _WORKS[program](stack), seconds=40, what=f"{program} to work again")
    wait_until(lambda: _WORKS["frontdoor"](stack), seconds=30, what="the front door to be ready again")


@pytest.mark.parametrize("idle", [True, False])
def test_a_code_location_that_is_gone_is_loaded_again(stack: RunningStack, *, idle: bool) -> None:
    """Dagster's code server goes on without it, as after half a minute in which it heard nobody: a machine that was suspended.

    The next wake has it loaded; so has the front door while nothing arrives.
    """
    server = psutil.Process(stack.pid_of("code-server"))
    wait_until(lambda: len(_code_locations(server)) == 1, seconds=60, what="the one before to be gone")
    (location,) = _code_locations(server)
    location.kill()
    wait_until(
        lambda: not psutil.pid_exists(location.pid) or location.status() == psutil.STATUS_ZOMBIE,
        seconds=10, what="the code location to be gone",
    )  # fmt: skip
    if idle:
        wait_until(
            lambda: [one for one in _code_locations(server) if one.pid != location.pid],
            seconds=90, what="the code location to be there again",
        )  # fmt: skip
    key = {"X-API-Key": stack.admin_token}
    message = {"type": "user", "uuid": f"after-{idle}", "message": {"content": "x"}}
    answer = httpx.post(
        f"{stack.url}/api/v1/ingest/message", json=message, headers=key | {"Prefer": "respond-async"}
    )
    receipt = stack.url + answer.headers["Location"]
    wait_until(
        lambda: httpx.get(receipt, headers=key).json()["state"] == "done",
        seconds=90,
        what="the message to be stored",
    )
    assert server.is_running()


def _code_locations(server: psutil.Process) -> list[psutil.Process]:
    return [
        child
        for child in server.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and "grpc" in child.cmdline()
    ]


def test_a_killed_stack_leaves_nothing_that_hinders_the_next(stack: RunningStack, tmp_path: Path) -> None:
    """Runs beside the session's stack, which must not notice."""
    home = tmp_path / "home"
    given = {"port": free_port(), "webserver_port": free_port(), "workers_gpu": 0, "workers_batch": 0}
    first = until_ready(home, launch(home, **given))
    with psycopg.connect(first.environment["INGESTION_POSTGRES_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    supervisord = int((Places(home).run / "supervisord.pid").read_text(encoding="ascii"))
    os.kill(first.process.pid, signal.SIGKILL)
    os.kill(supervisord, signal.SIGKILL)
    first.process.wait()

    second = until_ready(home, launch(home, **given))
    assert second.admin_token == first.admin_token
    with psycopg.connect(second.environment["INGESTION_POSTGRES_URL"]) as connection:
        assert connection.execute("SELECT value FROM kept").fetchall() == [(1,)]
    began = time.monotonic()
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(timeout=30) == 0
    assert time.monotonic() - began < 15
    assert leftovers(home) == []
    assert not Places(home).environment.exists()
    assert _ingestion(home, "status").returncode == 3
    assert _answers(f"{stack.url}/health/ready")
