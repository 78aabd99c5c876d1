"""A small repository made up for demonstrations: three languages, files that use each other, in two matters."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

BRANCH = "main"
ASKED = "weather/forecast.py"
_MATTERS = {
    "weather": ("forecast", "pressure", "humidity", "rainfall"),
    "library": ("catalogue", "loan", "reader", "shelf"),
}


def sample_files() -> Mapping[str, str]:
    """Path to content."""
    files = {"README.md": "# Sample\n\nMade up.\n", "data.bin": "\0\1\2"}
    for matter, (first, second, third, fourth) in _MATTERS.items():
        files[f"{matter}/{first}.py"] = (
            f'"""The {first} of the {matter}."""\n\nfrom {matter}.{second} import {second}_of\n\n\n'
            f"def {first}_for({third}: int) -> int:\n    return {second}_of({third}) + {third}\n"
        )
        files[f"{matter}/{second}.py"] = (
            f'"""The {second} of the {matter}."""\n\nfrom {matter}.{fourth} import {fourth.title()}\n\n\n'
            f"def {second}_of({third}: int) -> int:\n    return {fourth.title()}({third}).amount\n"
        )
        files[f"{matter}/{fourth}.py"] = (
            f"class {fourth.title()}:\n    def __init__(self, {third}: int) -> None:\n        self.amount = {third} * 2\n"
        )
        files[f"web/{first}.ts"] = (
            f"import {{ {second}Panel }} from './{second}'\n\n"
            f"export function {first}Panel({third}: number): string {{\n  return {second}Panel({third})\n}}\n"
        )
        files[f"web/{second}.ts"] = (
            f"export function {second}Panel({third}: number): string {{\n  return String({third})\n}}\n"
        )
        files[f"service/{matter}/{third}.go"] = (
            f"package {matter}\n\nfunc {third.title()}({fourth} int) int {{\n\treturn {first.title()}({fourth})\n}}\n"
        )
        files[f"service/{matter}/{first}.go"] = (
            f"package {matter}\n\nfunc {first.title()}({fourth} int) int {{\n\treturn {fourth} + 1\n}}\n"
        )
    return files


def make_sample(folder: Path) -> None:
    """A bare repository with one commit of these files in `folder`, whole or not at all. Raises `FileNotFoundError` where there is no git."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".sample-") as beside:
        _make(Path(beside) / folder.name)
        (Path(beside) / folder.name).rename(folder)


def _make(folder: Path) -> None:
    program = shutil.which("git")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "this program is not installed", "git")
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "sample"), ("EMAIL", "sample@example.com"))
    }
    environment = {
        **os.environ,
        **who,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_INDEX_FILE": str(folder / "sample-index"),
    }

    def git(*arguments: str, feed: str = "") -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            check=True,
            input=feed.encode(),
            capture_output=True,
            env=environment,
        )
        return done.stdout.decode().strip()

    folder.mkdir()
    git("init", "-q", "--bare", f"--initial-branch={BRANCH}")
    blobs = {
        path: git("hash-object", "-w", "--stdin", feed=content) for path, content in sample_files().items()
    }
    git(
        "update-index",
        "--index-info",
        feed="".join(f"100644 {blob}\t{path}\n" for path, blob in blobs.items()),
    )
    commit = git("commit-tree", git("write-tree"), "-m", "A sample")
    git("update-ref", f"refs/heads/{BRANCH}", commit)
