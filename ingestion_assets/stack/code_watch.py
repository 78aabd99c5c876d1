"""Has a user's code locations loaded again once their files changed: `python -m ingestion_assets.stack.code_watch`.

What changed is first loaded by a process of its own: what cannot be leaves the code before it at work. The daemon notices by itself
that a location was loaded again.
"""

import logging
import time
from pathlib import Path

import httpx

from ingestion_assets import proxies
from ingestion_assets.frontdoor.dagster_graphql import LOADING_S, DagsterError, check_loaded, reload_of
from ingestion_assets.orchestration.project_code import Stamp, TooManyFilesError, stamp
from ingestion_assets.own_modules import OwnModule
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stack.loadable_code import Trial, note_unloadable
from ingestion_assets.stack.own_locations import project_of
from ingestion_assets.stack.places import Places

LOOK_S = 0.5
QUIET_S = 1.0
"""How long after its last change code is loaded again."""
PATIENCE_S = 300.0

logger = logging.getLogger(__name__)


def watch(settings: Settings, places: Places) -> None:
    """Until the process is stopped. Raises `TooManyFilesError`."""
    project, trial = project_of(settings), Trial()
    for one in settings.own_modules:  # so that the process which children are made of is there
        trial.error_of(one, project)
    began_ns = places.supervisor_configuration.stat().st_mtime_ns
    now = stamp(project)
    # What was saved while the stack started may have come too late for the code servers.
    loaded = now if all(changed_ns < began_ns for _, changed_ns, _, _ in now) else None
    logger.info("Watching %d files below %s", len(now), project)
    while True:
        settled = _when_quiet(project, now) if now != loaded else now
        if settled != loaded:
            errors: dict[str, str] = {}
            refused = [
                one for one in settings.own_modules if not _take(one, project, trial, settings, errors)
            ]
            note_unloadable(places, errors)
            loaded = loaded if refused else settled  # Dagster is asked again
        time.sleep(LOOK_S)
        now = stamp(project)


def _when_quiet(project: Path, seen: Stamp) -> Stamp:
    """What the files are once they have not changed for a moment."""
    while True:
        time.sleep(QUIET_S)
        now = stamp(project)
        if now == seen:
            return now
        seen = now


def _take(one: OwnModule, project: Path, trial: Trial, settings: Settings, errors: dict[str, str]) -> bool:
    """Have the location loaded again, if it can be; else `errors` get why not. False where Dagster did not do it."""
    began = time.monotonic()
    if error := trial.error_of(one, project):
        logger.error(
            "What changed of %s cannot be loaded; the code before it goes on: %s", one.location, error
        )
        errors[one.location] = error
        return True
    try:
        _reload(one.location, settings)
    except (DagsterError, httpx.HTTPError) as refused:
        logger.error("%s could not be loaded again: %s", one.location, refused)
        return False
    logger.info("Loaded %s again, in %.1f s", one.location, time.monotonic() - began)
    return True


def _reload(location: str, settings: Settings) -> None:
    """Ask the webserver, which may have to come up first. Raises `DagsterError`, `httpx.HTTPError`."""
    question, until = reload_of(location), time.monotonic() + PATIENCE_S
    with httpx.Client(
        base_url=settings.dagster_url,
        auth=settings.dagster_login,
        headers=settings.headers_for_dagster,
        trust_env=proxies.stand_before(settings.dagster_url),
    ) as dagster:
        while True:
            try:
                check_loaded(
                    question.answer(dagster.post("/graphql", json=question.body(), timeout=LOADING_S))
                )
                return
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(LOOK_S)


def main() -> None:
    """Entry point. A project that is too large to be watched ends it never: its code is loaded again by hand."""
    settings = load_settings()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        watch(settings, Places(settings.home))
    except TooManyFilesError as error:
        logger.error(
            "Changed code is not loaded by itself: %s. Use `Reload` in Dagster's UI, and restart the stack.",
            error,
        )
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
