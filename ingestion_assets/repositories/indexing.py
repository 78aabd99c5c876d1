"""What all stages of one pass over a repository work with."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.snapshots import Models
from ingestion_assets.repositories.stage_watch import StageWatch

ASK_S = 1.0


class StoppedError(Exception):
    """The run was asked to stop."""


@dataclass(slots=True)
class Indexing:
    """One pass. `asked_to_stop` asks the ledger; `scratch` is the run's own folder."""

    submission: Submission
    claim: Claim
    engine: sa.Engine
    settings: RepositoriesSettings
    models: Models
    scratch: Path
    watch: StageWatch
    asked_to_stop: Callable[[], bool]
    credential: str | None = None
    _asked_at: float = field(default=float("-inf"))
    _stopped: bool = False

    def stopped(self) -> bool:
        """Whether the work is to end here; asks the ledger once a second at most."""
        if not self._stopped and time.monotonic() - self._asked_at >= ASK_S:
            self._stopped = self.asked_to_stop()
            self._asked_at = time.monotonic()
        return self._stopped

    def go_on(self) -> None:
        """Raises `StoppedError` where the work is to end here."""
        if self.stopped():
            raise StoppedError

    def stored_limits(self) -> dict[str, Any]:
        """The settings that what is stored depends on."""
        return {"max_files": self.settings.max_files, "max_file_bytes": self.settings.max_file_bytes}

    def git(self) -> dict[str, Any]:
        """What calls of git are given."""
        return {"limits": self.settings, "credential": self.credential, "stopped": self.stopped}
