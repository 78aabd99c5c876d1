"""A repository's newest tree, bare and shallow, in scratch space; nothing of it is ever checked out or run.

The host's addresses are resolved once, checked, and pinned for git, which follows no redirect. Blobs above the limit stay away; the
clone then forgets where it came from, or git would fetch them after all when the tree is read.
"""

import base64
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingestion_assets.repositories.addresses import LOCAL, Repository, check_ref
from ingestion_assets.repositories.git import CloneError, Limits, never, output
from ingestion_assets.repositories.resolving import ForbiddenAddress, Lookup, resolve, system_lookup

__all__ = ["CloneError", "Snapshot", "clone", "tip"]

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SERVING = "[safe]\n\tdirectory = *\n[uploadpack]\n\tallowFilter = true\n"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A clone: a bare repository with one commit; none where HEAD names no commit. `branch` is None for a tag."""

    folder: Path
    commit: str | None
    tree: str | None
    branch: str | None


def clone(
    repository: Repository, ref: str | None, scratch: Path, limits: Limits, *, credential: str | None = None,
    stopped: Callable[[], bool] = never, lookup: Lookup = system_lookup,
) -> Snapshot:  # fmt: skip
    """Clone HEAD, a branch, a tag or a commit into a new folder below `scratch`; nothing is left there on failure. Raises `CloneError`."""
    work = Path(tempfile.mkdtemp(dir=scratch, prefix="clone-"))
    try:
        config, environment = _connection(repository, work, credential, lookup)
        folder = work / "repository.git"

        def git(*arguments: str | Path, at: Path = work) -> None:
            output(arguments, limits, folder=at, config=config, environment=environment, stopped=stopped)

        few = ("--quiet", "--depth", "1", "--no-tags", f"--filter=blob:limit={limits.max_file_bytes + 1}")
        if ref is not None and _COMMIT.fullmatch(ref):
            form = "sha1" if len(ref) == 40 else "sha256"
            git("init", "--quiet", "--bare", "--template=", f"--object-format={form}", folder)
            git("fetch", *few, "--", repository.url, ref, at=folder)
            git("update-ref", "--no-deref", "HEAD", f"{ref}^{{commit}}", at=folder)
        else:
            named = [] if ref is None else ["--branch", check_ref(ref)]
            git(
                "clone",
                *few,
                "--bare",
                "--single-branch",
                "--template=",
                *named,
                "--",
                repository.url,
                folder,
            )
        _forget_origin(folder, limits)
        return _snapshot(folder, limits)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def tip(
    repository: Repository, ref: str | None, scratch: Path, limits: Limits, *, credential: str | None = None,
    stopped: Callable[[], bool] = never, lookup: Lookup = system_lookup,
) -> str | None:  # fmt: skip
    """The commit that HEAD, a branch, a tag or a commit names now; None where there is none. Raises `CloneError`."""
    if ref is not None and _COMMIT.fullmatch(ref):
        return ref
    wanted = (
        ["HEAD"]
        if ref is None
        else [f"refs/heads/{check_ref(ref)}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]
    )
    with tempfile.TemporaryDirectory(dir=scratch, prefix="tip-") as work:
        config, environment = _connection(repository, Path(work), credential, lookup)
        listed = output(
            ["ls-remote", "--quiet", "--", repository.url, *wanted],
            limits, folder=Path(work), config=config, environment=environment, stopped=stopped,
        )  # fmt: skip
    # Others that end alike are listed too, and their names may be any bytes.
    found = {name: commit for commit, _, name in (line.partition(b"\t") for line in listed.split(b"\n"))}
    return next((found[one].decode("ascii") for name in wanted if (one := name.encode()) in found), None)


def _connection(
    repository: Repository, work: Path, credential: str | None, lookup: Lookup
) -> tuple[dict[str, str], dict[str, str]]:
    """Configuration and environment with which git reaches this repository and nothing else."""
    scheme = repository.scheme
    config = {f"protocol.{scheme}.allow": "always"}
    environment = {"GIT_ALLOW_PROTOCOL": scheme}
    if repository.host == LOCAL:
        serving = work / "serving.gitconfig"
        serving.write_text(_SERVING, encoding="ascii")
        return config, {**environment, "GIT_CONFIG_GLOBAL": str(serving)}
    host, _, port = repository.host.partition(":")
    port = port or ("80" if scheme == "http" else "443")
    try:
        addresses = resolve(host, int(port), private=repository.private, lookup=lookup)
    except ForbiddenAddress as error:
        raise CloneError("forbidden_address", str(error)) from error
    literals = ",".join(f"[{one}]" if ":" in one else one for one in addresses)
    config["http.curloptResolve"] = f"{host}:{port}:{literals}"
    if credential is not None:
        sealed = base64.b64encode(credential.encode()).decode()
        config[f"http.{scheme}://{repository.host}/.extraHeader"] = f"Authorization: Basic {sealed}"
    return config, environment


def _forget_origin(folder: Path, limits: Limits) -> None:
    """Leave nothing of the configuration but the form of objects: no remote, no promisor."""
    form = output(["rev-parse", "--show-object-format"], limits, folder=folder).decode().strip()
    config = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = " + form
    (folder / "config").write_text(config + "\n", encoding="ascii")
    for promise in folder.glob("objects/pack/*.promisor"):
        promise.unlink()


def _snapshot(folder: Path, limits: Limits) -> Snapshot:
    names = ["rev-parse", "--quiet", "--verify"]
    commit = output([*names, "HEAD^{commit}"], limits, folder=folder, accepts=(0, 1)).decode().strip()
    head = output(["symbolic-ref", "--quiet", "--short", "HEAD"], limits, folder=folder, accepts=(0, 1))
    branch = head.decode(errors="replace").strip() or None
    if not commit:
        return Snapshot(folder, None, None, branch)
    tree = output([*names, "HEAD^{tree}"], limits, folder=folder).decode().strip()
    return Snapshot(folder, commit, tree, branch)
