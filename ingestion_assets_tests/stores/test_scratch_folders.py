import subprocess
import sys
from pathlib import Path

from ingestion_assets.stores.scratch_folders import delete_left, scratch_folder

HOLDS = """
import sys, time
from pathlib import Path
from ingestion_assets.stores.scratch_folders import scratch_folder
with scratch_folder(Path(sys.argv[1])) as own:
    (own / "file").write_text("here")
    print(own, flush=True)
    time.sleep(600)
"""
MAKES = """
import sys
from pathlib import Path
from ingestion_assets.stores.scratch_folders import scratch_folder
for _ in range(300):
    with scratch_folder(Path(sys.argv[1])) as own:
        (own / "file").write_text("here")
        assert [one.name for one in own.iterdir()] == ["file"]
"""


def run(script: str, root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_left_is_deleted_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    killed, living = run(HOLDS, tmp_path), run(HOLDS, tmp_path)
    try:
        assert killed.stdout is not None
        assert living.stdout is not None
        left, used = (Path(one.stdout.readline().strip()) for one in (killed, living))
        killed.kill()
        killed.wait()
        delete_left(tmp_path)
        assert not left.exists()
        assert (used / "file").read_text() == "here"
    finally:
        living.kill()
        living.wait()


def test_what_was_deleted_by_half_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "more" / "work").mkdir(parents=True)
    with scratch_folder(tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]
    assert not list(tmp_path.iterdir())


def test_processes_that_begin_together_take_nothing_from_each_other(tmp_path: Path) -> None:
    together = [run(MAKES, tmp_path) for _ in range(4)]
    assert [one.wait() for one in together] == [0, 0, 0, 0]
    assert not list(tmp_path.iterdir())
