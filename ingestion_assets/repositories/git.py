"""The git program in a limited child process: own group, limits on memory, CPU, files and time, none of the machine's configuration.

Configuration goes through the environment (`GIT_CONFIG_COUNT`), so a credential is on no command line. The child is killed with its
group when its reader stops early, time is up or the caller is asked to stop, and when its parent is killed. Its time is what its reader
waits for it: what a reader does with a piece, for however long, is none of git's.
"""

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar, cast

from ingestion_assets.limited_children import kill, limited

Answer = TypeVar("Answer")
ASK_S = 0.25
MEMORY_BYTES = 2**30
MOST_OUTPUT_BYTES = 2**20
CHUNK_BYTES = 2**16
MISSING = 127
"""What the programs that start git end with where there is none, as shells do."""
_CONFIG = {
    "protocol.allow": "never",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "15",
    "http.proxy": "",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.alternateRefsCommand": "true",
    "core.bigFileThreshold": "4m",
    "core.packedGitWindowSize": "16m",
    "core.packedGitLimit": "128m",
    "core.quotePath": "false",
    "submodule.recurse": "false",
    "pack.threads": "1",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


class Limits(Protocol):
    """What a user may set, see `RepositoriesSettings`."""

    @property
    def max_files(self) -> int: ...
    @property
    def max_file_bytes(self) -> int: ...
    @property
    def clone_s(self) -> float: ...
    @property
    def max_clone_bytes(self) -> int: ...


class CloneError(Exception):
    """A repository could not be cloned or read: a stable code, and a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def never() -> bool:
    return False


@dataclass(slots=True)
class _Waiting:
    """How long git was waited for; `go_on` raises `CloneError` where that is `most_s`, or where it is asked to stop."""

    limits: Limits
    most_s: float
    stopped: Callable[[], bool]
    waited_s: float = 0.0
    _asked: float = float("-inf")

    def go_on(self) -> None:
        if time.monotonic() - self._asked >= ASK_S:
            if self.stopped():
                raise CloneError("stopped", "The run was asked to stop while git was at work.")
            self._asked = time.monotonic()
        if self.waited_s > self.most_s:
            raise _timeout(self.limits)

    def wait(self, until: Callable[[float], Answer]) -> Answer:
        """What `until`, which is given the most seconds it may take, gives."""
        began = time.monotonic()
        answer = until(ASK_S)
        self.waited_s += time.monotonic() - began
        return answer


def stream(
    arguments: Sequence[str | Path], limits: Limits, *, folder: Path, config: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None, given: IO[bytes] | None = None, stopped: Callable[[], bool] = never,
    accepts: Sequence[int] = (0,), seconds: float | None = None,
) -> Iterator[bytes]:  # fmt: skip
    """What `git ARGUMENTS` writes, in pieces. `given` is a file for its standard input; `seconds` less than a clone may take. Raises `CloneError`."""
    # Killed with its parent: the kernel tells `timeout`, which tells all of the group; git's own helpers would wait for the server. It has
    # no time of its own, as it cannot know how long git itself is waited for.
    command = limited(
        ["timeout", "--signal", "KILL", "0", "git", *map(str, arguments)],
        memory_bytes=MEMORY_BYTES, file_bytes=limits.max_clone_bytes, cpu_s=int(limits.clone_s) + 1, parent_death_signal="TERM",
    )  # fmt: skip
    waiting = _Waiting(limits, seconds or limits.clone_s, stopped)
    with tempfile.TemporaryFile(dir=folder) as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(folder, config or {}, environment or {}),
            stdin=given or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            yield from _pieces(cast("IO[bytes]", process.stdout), waiting)
            while process.poll() is None:
                waiting.go_on()
                waiting.wait(lambda _: time.sleep(0.01))
        finally:
            kill(process)
        if process.returncode not in accepts:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 8192))
            raise _error(process.returncode, errors.read().decode(errors="replace"), limits)


def output(
    arguments: Sequence[str | Path], limits: Limits, *, folder: Path, config: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None, stopped: Callable[[], bool] = never, accepts: Sequence[int] = (0,),
) -> bytes:  # fmt: skip
    """All that `git ARGUMENTS` writes, which is short. Raises `CloneError`."""
    written = b""
    for piece in stream(
        arguments,
        limits,
        folder=folder,
        config=config,
        environment=environment,
        stopped=stopped,
        accepts=accepts,
    ):
        written += piece
        if len(written) > MOST_OUTPUT_BYTES:
            raise CloneError(
                "too_much_output", "The repository's server answers more than git was asked for."
            )
    return written


def _pieces(pipe: IO[bytes], waiting: _Waiting) -> Iterator[bytes]:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            waiting.go_on()
            if waiting.wait(selector.select):
                piece = os.read(pipe.fileno(), CHUNK_BYTES)
                if not piece:
                    return
                yield piece


def _timeout(limits: Limits) -> CloneError:
    return CloneError(
        "clone_timeout",
        f"git took longer than {limits.clone_s:g} s; INGESTION_REPOSITORIES_CLONE_S sets this limit.",
    )


def _environment(folder: Path, config: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    nowhere = str(folder / "no-home")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": nowhere, "XDG_CONFIG_HOME": nowhere,
        "TMPDIR": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false", "SSH_ASKPASS": "/bin/false", "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", **more,
    }  # fmt: skip
    pairs = {**_CONFIG, **config}
    environment["GIT_CONFIG_COUNT"] = str(len(pairs))
    for number, (key, value) in enumerate(pairs.items()):
        environment[f"GIT_CONFIG_KEY_{number}"], environment[f"GIT_CONFIG_VALUE_{number}"] = key, value
    return environment


_KNOWN = (
    (r"Remote branch .* not found in upstream|not our ref|unadvertised object|not a valid SHA1", "ref_not_found", "The repository has no such branch, tag or commit, or its server does not give it."),
    (r"The requested URL returned error: 30\d|redirect", "redirected", "The server answers with a redirect, which is not followed; submit the address that it leads to."),
    (r"returned error: 40[13]|Authentication failed|could not read Username|could not read Password", "not_permitted", "The server asks for a credential, or refuses the one it was given; `ingestion repos credentials set` keeps one for a host."),
    (r"not found|returned error: 404|returned error: 410|does not appear to be a git repository", "not_found", "There is no such repository, or it is private."),
    (r"too slow|timed out|Timeout was reached", "too_slow", "The server sent less than 1,000 bytes/s for 15 s."),
    (r"Could not resolve|Failed to connect|Couldn't connect|Connection refused|Connection reset|unreachable", "not_reached", "The server cannot be reached."),
    (r"invalid index-pack output|early EOF|unexpected disconnect|remote end hung up|pack-objects died|bad pack", "incomplete", "The server could not send the whole repository; it may be damaged there."),
    (r"SSL|certificate", "no_tls", "The server's certificate is not one that can be trusted."),
    (r"File too large|File size limit", "clone_too_large", "The repository's pack is larger than {bytes:,} bytes; INGESTION_REPOSITORIES_MAX_CLONE_BYTES sets this limit."),
    (r"[Oo]ut of memory|mmap failed|Cannot allocate", "too_much_memory", "git needed more memory than it may have (1 GiB)."),
)  # fmt: skip


def _error(code: int, said: str, limits: Limits) -> CloneError:
    if fsck := re.search(r"object ([0-9a-f]{40,64}): (\w+):", said):
        return CloneError(
            "fsck", f"git refuses the repository as damaged or dangerous: {fsck[2]} in object {fsck[1][:12]}."
        )
    if code in {-signal.SIGXFSZ, 128 + signal.SIGXFSZ}:
        said = "File size limit"
    if code in {-signal.SIGXCPU, 128 + signal.SIGXCPU}:
        return _timeout(limits)
    if code == MISSING:
        missing = "".join(one for one in said.strip() if one.isprintable())[:200]
        return CloneError(
            "no_program", f"A program that cloning needs is not installed with the worker: {missing}"
        )
    for pattern, name, sentence in _KNOWN:
        if re.search(pattern, said):
            return CloneError(name, sentence.format(bytes=limits.max_clone_bytes))
    lines = [one for one in said.splitlines() if one.startswith(("fatal: ", "error: "))]
    last = "".join(one for one in (lines or [""])[-1] if one.isprintable())[:200]
    return CloneError(
        "clone_failed", f"git could not read the repository (exit status {code}). {last}".strip()
    )
