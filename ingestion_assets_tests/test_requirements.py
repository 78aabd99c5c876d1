"""What is installed: it has to run on every Python that the project says it runs on."""

import os
import shutil
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ingestion_assets_tests.conftest import PROJECT


def test_pinned_versions_run_on_the_oldest_python() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = f"{project['requires-python'].removeprefix('>=')}.0"
    pinned = {
        canonicalize_name(Requirement(line).name)
        for line in (PROJECT / "constraints.txt").read_text().split()
    }
    too_new = [
        f"{found.name} {found.version} needs Python {needed}"
        for found in distributions()
        if canonicalize_name(found.name) in pinned
        and (needed := found.metadata.get("Requires-Python"))
        and not SpecifierSet(needed).contains(oldest)
    ]
    assert not too_new


@pytest.mark.parametrize("python", ["", "no-such-python", "false"])
def test_make_says_which_python_it_needs(tmp_path: Path, python: str) -> None:
    """There is none, none of that name, or one that says no to the question for its version."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(PROJECT / name, tmp_path / name)
    done = subprocess.run(
        (str(shutil.which("make")), "--no-print-directory", "install", f"PYTHON={python}"),
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[:1]) == (
        2,
        ["Python 3.11 or later is needed, as python3.11 or python3, or by its path: PYTHON=… make"],
    )
    assert not (tmp_path / ".venv").exists()
