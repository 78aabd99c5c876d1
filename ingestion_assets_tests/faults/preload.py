"""Libraries to preload into a server, built from `preload/` at first use."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "preload"


@cache
def built(name: str) -> Path:
    """The shared library `name`. Skips the test where there is no C compiler.

    It lies in a folder that other users may enter: PostgreSQL does not run as root.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip(f"no C compiler: {name}.c, which is preloaded into the servers, cannot be built")
    folder = Path(_folder().name)
    folder.chmod(0o755)
    library = folder / f"{name}.so"
    command = (compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCES / f"{name}.c"), "-ldl")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{name}.c cannot be built here (it is for Linux with glibc): {done.stderr[-500:]}")
    return library


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Lives as long as this process."""
    return tempfile.TemporaryDirectory(prefix="ingestion-preload-")
