"""Whether a user's code can be loaded: tried in a process of its own, and kept for `ingestion status`, beside what Dagster says."""

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from ingestion_assets import proxies
from ingestion_assets.frontdoor.dagster_graphql import Question
from ingestion_assets.own_modules import OwnModule
from ingestion_assets.settings import load_settings
from ingestion_assets.stack.places import Places
from ingestion_assets.stores.durable_files import write_durably

LOADED_WITHIN_S = 120.0
_STATES = """
{ workspaceOrError { __typename ... on Workspace { locationEntries {
    name locationOrLoadError { __typename ... on PythonError { message } } } } } }
"""


class Trial:
    """Loads code as a code location does, in children of a process that has Dagster imported and nothing of the user's."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["ingestion_assets.orchestration.warm_code", __name__])

    def error_of(self, one: OwnModule, project: Path) -> str | None:
        """Why the module cannot be loaded; None where it can."""
        reader, writer = self._context.Pipe(duplex=False)
        with reader:
            child = self._context.Process(target=_load, args=(one, project, writer), daemon=True)
            child.start()
            writer.close()
            try:
                said: str | None = (
                    reader.recv() if reader.poll(LOADED_WITHIN_S) else "it takes too long to load"
                )
            except EOFError:
                child.join()
                said = f"the process that loaded it ended with {child.exitcode}"
            child.kill()
            child.join()
        return said


def _load(one: OwnModule, project: Path, told: Connection) -> None:
    from ingestion_assets.orchestration.warm_code import load_own  # noqa: PLC0415

    os.chdir(project)
    sys.dont_write_bytecode = True
    try:
        load_own(one, project)
    except BaseException as error:  # whatever the user's code raises
        told.send(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}")
    else:
        told.send(None)


def note_unloadable(places: Places, errors: dict[str, str]) -> None:
    """Keep why locations could not be loaded when their files last changed."""
    write_durably(places.unloadable, json.dumps(errors))


def unloadable_code(places: Places) -> dict[str, str]:
    """By location, in a sentence, what is wrong with its code; as far as somebody can be asked."""
    try:
        changed = json.loads(places.unloadable.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        changed = {}
    said = {name: f"cannot be loaded: {error}" for name, error in _said_by_dagster().items()}
    return said | {
        name: f"its changed files cannot be loaded, the code before them goes on: {error}"
        for name, error in changed.items()
    }


def _said_by_dagster() -> dict[str, str]:
    settings = load_settings()
    question = Question(_STATES, "workspaceOrError", {})
    try:
        answer = httpx.post(
            f"{settings.dagster_url}/graphql",
            json=question.body(),
            auth=settings.dagster_login,
            headers=settings.headers_for_dagster,
            timeout=5,
            trust_env=proxies.stand_before(settings.dagster_url),
        )
        entries = question.answer(answer).get("locationEntries", [])
    except Exception:  # it is away, which the states of the programs say
        return {}
    loads = {entry["name"]: entry["locationOrLoadError"] or {} for entry in entries}
    return {
        name: next(iter((load.get("message") or "").strip().splitlines()), "no reason given")
        for name, load in loads.items()
        if load.get("__typename") == "PythonError"
    }
