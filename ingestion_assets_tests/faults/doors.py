"""More front doors of a running stack, each with a clock and with syncs that can be made faulty."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.privileges import bound_to_parent
from ingestion_assets_tests.faults.preload import built
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A front door that can be made faulty."""

    url: str
    folder: Path

    def clock_off_by(self, seconds: float) -> None:
        """Its wall clock jumps: from now on (within a tenth of a second) it differs by so much."""
        _put(self.folder / "clock", f"{seconds:.3f}")

    def syncs(self, *, slower_ms: float = 0, failing: float = 0) -> None:
        """Each sync takes longer, and a share of them fails."""
        _put(self.folder / "syncs", f"{slower_ms:.0f} {failing:.3f}")


@contextmanager
def more_doors(stack: RunningStack, folder: Path, *, count: int) -> Iterator[list[Door]]:
    """Front doors with the stack's own environment, sound at first, within the block."""
    with ExitStack() as held:
        yield [held.enter_context(_door(stack, folder / str(number))) for number in range(count)]


@contextmanager
def _door(stack: RunningStack, folder: Path) -> Iterator[Door]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    door = Door(url=f"http://127.0.0.1:{port}", folder=folder)
    door.clock_off_by(0)
    door.syncs()
    environment = stack.environment | {
        "INGESTION_PORT": str(port),
        "LD_PRELOAD": str(built("faulty")),
        "FAULTY_CLOCK": str(folder / "clock"),
        "FAULTY_SYNCS": str(folder / "syncs"),
    }
    with (folder / "log.txt").open("ab") as output:
        process = subprocess.Popen(
            bound_to_parent((sys.executable, "-m", "ingestion_assets.server"), signal="KILL"), cwd=stack.home,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(door.url), seconds=START_S, what="another front door")
        yield door
    finally:
        door.syncs()
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", timeout=3).status_code == 200
    except httpx.TransportError:
        return False


def _put(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="ascii")
    draft.replace(path)
