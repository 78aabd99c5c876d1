"""One look at the watched repositories whose time has come: each asked for its newest commit."""

import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from ingestion_assets.repositories import watched_repositories
from ingestion_assets.repositories.clone import CloneError, tip
from ingestion_assets.repositories.credentials import credential_for
from ingestion_assets.repositories.scratch import scratch_root
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.submissions import repository_in
from ingestion_assets.settings import Settings
from ingestion_assets.stores.scratch_folders import scratch_folder

LONGEST_S = 40.0  # a tick of a sensor is cut off after 60
EACH_S = 8.0  # a server that is silent for longer does not answer


@dataclass(slots=True)
class Looked:
    """How many were asked, how many have a new commit, and why some could not be asked."""

    asked: int = 0
    changed: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def look_around(engine: sa.Engine, settings: Settings, chosen: RepositoriesSettings, *, most: int) -> Looked:
    """Ask `most` of those that are due, each for some seconds; those that time is too short for stay due."""
    looked, deadline = Looked(), time.monotonic() + LONGEST_S
    with engine.begin() as connection:
        due = watched_repositories.due(connection, most=most, every_s=chosen.watch_every_s)
    if not due:
        return looked
    with scratch_folder(scratch_root(settings)) as scratch:
        for number, look in enumerate(due):
            until = time.monotonic() + EACH_S
            if number and until > deadline:
                with engine.begin() as connection:
                    watched_repositories.not_asked(connection, due[number:])
                break
            looked.asked += 1
            try:
                with engine.begin() as connection:
                    credential = credential_for(connection, look.submission, settings)
                newest = tip(
                    repository_in(look.submission, chosen), look.submission.ref, scratch, chosen, credential=credential,
                    stopped=lambda until=until: time.monotonic() > until,
                )  # fmt: skip
            except (CloneError, ValueError) as error:
                silent = f"It has not answered within {EACH_S:g} s."
                looked.failed[look.submission.partition] = silent if time.monotonic() > until else str(error)
                with engine.begin() as connection:
                    watched_repositories.failed(connection, look, every_s=chosen.watch_every_s)
                continue
            with engine.begin() as connection:
                looked.changed += watched_repositories.seen(
                    connection, look, newest, every_s=chosen.watch_every_s
                )
    return looked
