"""A server's programs where the account that runs it can reach them: in their package, or copied once.

Root's virtual environment commonly lies below a folder that only root may enter. The copy belongs to root, lies
where nobody else can write, serves every stack of the machine, and may be deleted while none runs.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_NAME = "ingestion-assets"
_CANDIDATES = ("/var/cache", "/var/tmp", "/tmp")  # noqa: S108 (checked below: owned by us, closed to others)


def open_to_everybody(path: Path) -> bool:
    """Whether any account may read `path` and everything on the way to it (by mode; other rules may say no)."""
    real = path.resolve()
    own = real.stat().st_mode
    needed = stat.S_IROTH | stat.S_IXOTH if own & stat.S_IXUSR else stat.S_IROTH
    return own & needed == needed and all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)


def shared_copy(parts: Iterable[Path], *, root: Path, name: str, places: Iterable[str] = _CANDIDATES) -> Path:
    """A folder that holds the files `parts`, by their paths below `root`; made if it is not there or not whole.

    Raises:
        PermissionError: no folder of `places` can be used; the text says why for each, and what to do.
        OSError: the disk is full, say.
    """
    files = {path.relative_to(root): path.stat().st_size for path in parts}
    # Another release gets a copy of its own: a running server keeps the files that it began with.
    contents = "".join(f"{path} {size}\n" for path, size in sorted(files.items()))
    version = hashlib.sha256(contents.encode()).hexdigest()[:12]
    refused = []
    for place in places:
        folder = Path(place) / _NAME
        reason = _unusable(folder)
        if reason is None:
            with _locked(folder):
                return _whole_copy(files, root=root, folder=folder, name=f"{name}-{version}")
        refused.append(f"{folder}: {reason}")
    raise PermissionError(
        f"the programs of {name} lie in {root}, where only you can reach them, and there is no place for a copy "
        f"({'; '.join(refused)}). Put the virtual environment into a folder that everybody may enter."
    )


def _unusable(folder: Path) -> str | None:
    """Why `folder` cannot hold programs that another account runs; None if it can."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)  # whatever the umask
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
            return "it is somebody else's"
        if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write to it"
        if not open_to_everybody(folder):
            return "others may not enter it"
        for above in folder.resolve().parents:
            mode = above.stat()
            shared = mode.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode.st_mode & stat.S_ISVTX
            if shared or mode.st_uid not in (0, os.geteuid()):
                return f"others may replace what lies in {above}"
        if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
            return "programs there may not be executed"
        if not os.access(folder, os.W_OK):
            return "it is read-only"
    except OSError as error:
        return error.strerror or str(error)
    return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One stack at a time: several may start at once."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _whole_copy(files: dict[Path, int], *, root: Path, folder: Path, name: str) -> Path:
    copy = folder / name
    # Who cleans `/tmp` by age takes single files, and a power cut may leave them empty.
    if _sizes(copy) == files:
        return copy
    for unfinished in folder.glob(".draft-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        whole = draft / "whole"
        for file in files:
            target = whole / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / file, target)
            target.chmod(0o755 if (root / file).stat().st_mode & stat.S_IXUSR else 0o644)
        for made in (whole, *(path for path in whole.rglob("*") if path.is_dir())):
            made.chmod(0o755)
        if copy.exists():
            copy.rename(draft / "damaged")
        whole.rename(copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return copy


def _sizes(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
