"""Where a stack keeps its things below its home."""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ingestion_assets.settings import STACK_ENV_FILE

# sun_path holds 107 bytes; supervisor first binds `<path>.<pid>`.
_LONGEST_SOCKET_PATH = 95


@dataclass(frozen=True, slots=True)
class Places:
    """The files and folders of the stack whose home is `home` (absolute)."""

    home: Path

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """What has a meaning only while the stack runs."""
        return self.home / "run"

    @property
    def lock(self) -> Path:
        """Locked, and naming its holder, as long as an `ingestion up` runs."""
        return self.run / "up.lock"

    @property
    def ready(self) -> Path:
        """Addresses of the stack; exists once it is ready."""
        return self.run / "ready.json"

    @property
    def own_workspace(self) -> Path:
        """Where the code servers of a user's own modules listen, as Dagster's `workspace.yaml`."""
        return self.run / "workspace.yaml"

    @property
    def unloadable(self) -> Path:
        """The code locations whose changed files cannot be loaded, and why, as JSON."""
        return self.run / "unloadable.json"

    @property
    def supervisor_configuration(self) -> Path:
        return self.home / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        path = self.run / "supervisor.sock"
        return path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else self._short_run / "supervisor.sock"

    @property
    def remembered(self) -> Path:
        """Ports that the embedded servers were given at the first start."""
        return self.home / "stack.json"

    @property
    def environment(self) -> Path:
        """How to reach the running stack, as a dotenv file that every command reads."""
        return self.home / STACK_ENV_FILE

    @property
    def admin_token(self) -> Path:
        return self.home / "admin_token"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def _short_run(self) -> Path:
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"ingestion-{os.geteuid()}-{name}"

    def create(self) -> None:
        """Make the folders, closed to other users.

        Raises:
            PermissionError: the folder for a too long socket path was laid by somebody else.
        """
        for folder in (self.home, self.logs, self.run, self.dagster_home, self.supervisor_socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = self.supervisor_socket.parent.lstat()
        if seen.st_uid != os.geteuid() or not stat.S_ISDIR(seen.st_mode):
            raise PermissionError(
                f"{self.supervisor_socket.parent} belongs to somebody else; use a shorter INGESTION_HOME."
            )
