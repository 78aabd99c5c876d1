"""A git repository that tests write versions into, and serve or clone."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

GIT = shutil.which("git") or "git"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "2026-01-31T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-31T00:00:00Z",
}  # fmt: skip


class GitRepository:
    """A bare repository in `folder`."""

    def __init__(self, folder: Path, *, branch: str = "main", program: str = GIT) -> None:
        self.folder = folder
        self.branch = branch
        subprocess.run(
            [program, "init", "-q", "--bare", f"--initial-branch={branch}", str(folder)],
            check=True,
            env=ENVIRONMENT,
        )

    def commit(
        self, files: Mapping[str, str | bytes], *, keep_history: bool = True, message: str = "a version"
    ) -> str:
        """A commit with just these files on the branch; its id."""
        entries = [
            f"100644 blob {self._git('hash-object', '-w', '--stdin', feed=_bytes(content))}\t{path}"
            for path, content in files.items()
        ]
        index = {"GIT_INDEX_FILE": str(self.folder / "index-of-the-test")}
        self._git("read-tree", "--empty", more=index)
        self._git(
            "update-index", "--index-info", feed="".join(f"{one}\n" for one in entries).encode(), more=index
        )
        tree = self._git("write-tree", more=index)
        parents = ["-p", f"refs/heads/{self.branch}"] if keep_history and self._has_commit() else []
        commit = self._git("commit-tree", tree, *parents, "-m", message)
        self._git("update-ref", f"refs/heads/{self.branch}", commit)
        return commit

    def tip(self) -> str:
        """The newest commit of the default branch."""
        return self._git("rev-parse", f"refs/heads/{self.branch}")

    def rename_branch(self, name: str) -> None:
        """Rename the default branch."""
        self._git("branch", "-m", self.branch, name)
        self._git("symbolic-ref", "HEAD", f"refs/heads/{name}")
        self.branch = name

    def _has_commit(self) -> bool:
        found = subprocess.run(
            [GIT, "rev-parse", "-q", "--verify", f"refs/heads/{self.branch}"], cwd=self.folder, check=False,
            env=ENVIRONMENT, capture_output=True,
        )  # fmt: skip
        return found.returncode == 0

    def _git(self, *arguments: str, feed: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            [GIT, *arguments],
            cwd=self.folder,
            check=True,
            input=feed,
            capture_output=True,
            env={**ENVIRONMENT, **(more or {})},
        )
        return done.stdout.decode().strip()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
