"""What the git program does beside its work, as the system's tracer sees it: files it writes, addresses it connects to."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

_CALLS = "connect,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat"
_PATH = re.compile(r'(?:AT_FDCWD<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
_READS = re.compile(r"O_RDONLY(?!.*O_CREAT)")


@dataclass(frozen=True, slots=True)
class GitWatch:
    """`programs` is a folder with a `git` that is watched, to stand first in `PATH`."""

    programs: Path
    log: Path

    @property
    def git(self) -> str:
        return str(self.programs / "git")

    def outside(self, *folders: Path) -> list[str]:
        """Calls that write anywhere else."""
        return [
            line for line in self._calls() if "connect(" not in line and not _reads_or_is_below(line, folders)
        ]

    def addresses(self) -> set[tuple[str, int]]:
        """Where it connected to."""
        found = (_ADDRESS.search(line) for line in self._calls() if "connect(" in line)
        return {(one[2], int(one[1])) for one in found if one}

    def _calls(self) -> list[str]:
        return [
            line
            for one in self.log.parent.glob(f"{self.log.name}.*")
            for line in one.read_text(encoding="utf-8", errors="replace").splitlines()
        ]


def git_watch(folder: Path) -> GitWatch | None:
    """A watch; None where there is no strace."""
    strace, git = shutil.which("strace"), shutil.which("git")
    if strace is None or git is None:
        return None
    programs = folder / "programs"
    programs.mkdir(parents=True)
    log = folder / "log"
    program = programs / "git"
    program.write_text(
        f'#!/bin/sh\nexec {strace} -f -qq -y --seccomp-bpf -e signal=none -e trace={_CALLS} -o {log}.$$ {git} "$@"\n',
        encoding="ascii",
    )
    program.chmod(0o755)
    return GitWatch(programs, log)


def _reads_or_is_below(line: str, folders: tuple[Path, ...]) -> bool:
    if _READS.search(line) or "/dev/null" in line or "O_DIRECTORY" in line or " = -1 " in line:
        return True
    places = [Path(one["folder"] or "/", one["path"]).resolve() for one in _PATH.finditer(line)]
    if "symlink" in line:  # what it leads to is any text
        places = places[-1:]
    return all(any(place.is_relative_to(folder) for folder in folders) for place in places)
