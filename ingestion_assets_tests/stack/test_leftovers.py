"""Leftovers of a home are found and ended; strangers are not touched."""

import os
import subprocess
import sys
from pathlib import Path

from ingestion_assets.stack.leftovers import MARK, end_leftovers, leftovers
from ingestion_assets.stores.embedded import embedded_postgres, embedded_valkey, free_port
from ingestion_assets_tests.servers import running, start, wait_until

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def _marked(home: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        (sys.executable, "-c", _STUBBORN), env=os.environ | {MARK: str(home)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_marked_processes_of_this_home_end_even_if_they_ignore_sigterm(tmp_path: Path) -> None:
    ours, other = _marked(tmp_path / "ours"), _marked(tmp_path / "other")
    try:
        assert [process.pid for process in leftovers(tmp_path / "ours")] == [ours.pid]
        assert end_leftovers(tmp_path / "ours") == 1
        ours.wait(timeout=5)
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.communicate()


def test_servers_are_known_by_their_folder_and_start_again_afterwards(tmp_path: Path) -> None:
    make = {
        "postgres": lambda: embedded_postgres(folder=tmp_path / "postgres", port=free_port()),
        "valkey": lambda: embedded_valkey(folder=tmp_path / "valkey", port=free_port()),
    }
    processes = [start(server()) for server in make.values()]
    try:
        assert {process.pid for process in processes} <= {process.pid for process in leftovers(tmp_path)}
        end_leftovers(tmp_path)
        wait_until(
            lambda: all(process.poll() is not None for process in processes), seconds=5, what="servers to end"
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert leftovers(tmp_path) == []
    with running(make["postgres"]()), running(make["valkey"]()):
        pass


def test_a_pid_file_that_names_a_stranger_does_not_hinder_postgres(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    process = start(embedded_postgres(folder=folder, port=free_port()))
    pid_file = folder / "data" / "postmaster.pid"
    lines = pid_file.read_text(encoding="utf-8").splitlines()
    process.kill()
    process.wait()
    wait_until(lambda: leftovers(tmp_path) == [], seconds=10, what="its children to end")
    with running(embedded_valkey(folder=tmp_path / "other" / "valkey", port=free_port())):
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]), encoding="utf-8")
        end_leftovers(tmp_path / "elsewhere")
        assert pid_file.exists()
    end_leftovers(tmp_path)
    with running(embedded_postgres(folder=folder, port=free_port())):
        pass
