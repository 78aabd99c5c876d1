"""What promises to survive a loss of power is synced before it takes the place of what was there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion_assets_tests.faults.preload import built

WRITERS = {
    "a private file": "from ingestion_assets.stores.durable_files import write_private as write; write(path, 'new')",
    "a key that is made once": "from ingestion_assets.stores.durable_files import keep_private as keep; keep(path, 'new')",
    "the stack's ports": "from ingestion_assets.stack.ports import choose_ports; choose_ports(path, ['front door'])",
    "the stack's environment": "from ingestion_assets.stack.environment_file import write_environment; write_environment(path, {'A': 'b'})",
    "active definitions": "from ingestion_assets.entities.active_definitions import Note, write_note; write_note(path.parent, Note(files='new', entities=()))",
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_takes_the_place_of_a_file_before_it_is_on_disk(writer: str, tmp_path: Path) -> None:
    """Where the disk refuses to sync, the writer says so, and what was there stays; without faults it writes."""
    home, syncs = tmp_path / "home", tmp_path / "syncs"
    home.mkdir()
    program = f"from pathlib import Path; path = Path({str(home / 'file')!r}); {WRITERS[writer]}"
    environment = {**os.environ, "LD_PRELOAD": str(built("faulty")), "FAULTY_SYNCS": str(syncs)}

    def write() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, timeout=120
        )

    syncs.write_text("0 1", encoding="ascii")
    refused = write()
    assert refused.returncode != 0
    assert "Input/output error" in refused.stderr
    assert [path.name for path in home.iterdir() if not path.name.endswith(".lock")] == []
    syncs.write_text("0 0", encoding="ascii")
    assert write().returncode == 0
    assert [path.stat().st_size > 0 for path in home.iterdir() if not path.name.endswith(".lock")] == [True]
