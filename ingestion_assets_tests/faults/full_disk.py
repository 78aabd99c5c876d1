"""A landing storage that is full: a small tmpfs where we may mount one, else a limit on what the front door may write."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SIZE = "48m"
_FILLER = "filler"


@contextmanager
def small_landing(home: Path) -> Iterator[bool]:
    """A tmpfs of `SIZE` as the landing folder of the stack to be started in `home`; tells whether that could be done."""
    landing = home / "landing"
    landing.mkdir(parents=True)
    command = ("/bin/mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(landing))
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(("/bin/umount", "--lazy", str(landing)), check=True)


@contextmanager
def full(landing: Path, *, mounted: bool, writer: Callable[[], int]) -> Iterator[None]:
    """No room for another byte within the block. `writer` tells the process id of who writes there."""
    if mounted:
        filler = landing / _FILLER
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            for size in (2**16, 2**12, 1):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        try:
            yield
        finally:
            filler.unlink()
        return
    process = psutil.Process(writer())
    _, most = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, (most, most))
