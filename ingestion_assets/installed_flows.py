"""The flows there are: those of this package, then those of other packages. Imports neither dagster nor fastapi.

Another package names its flow by an entry point of the group `ingestion_assets.flows`, or is named in `INGESTION_FLOWS`.
A foreign flow that cannot be taken is left out, with a sentence that says why; a fault of ours is an error of the start.
"""

import logging
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from ingestion_assets.landing.flows import FLOW_NAME, Flow
from ingestion_assets.landing.scopes import Scope
from ingestion_assets.settings import load_settings

if TYPE_CHECKING:
    import sqlalchemy as sa

GROUP = "ingestion_assets.flows"
ATTRIBUTE = "FLOW"
BUILT_IN = (
    "ingestion_assets.conversations.flow:CONVERSATIONS",
    "ingestion_assets.documents.flow:DOCUMENTS",
    "ingestion_assets.entities.flow:ENTITIES",
    "ingestion_assets.modules.flow:MODULES",
    "ingestion_assets.repositories.flow:REPOSITORIES",
)
COME_AND_GO = ("ingestion_assets.zones.in_force:flows",)
"""Functions of a connection to the ledger: the flows that come and go while processes run."""
_NAME = re.compile(FLOW_NAME)
_TAKEN = frozenset({"landing", "retention", "run_retention", "key_retention", "default"})
"""Names of the spine's own jobs and asset groups."""
_TAKEN_SCOPES = frozenset({"read", "admin"})

PartT = TypeVar("PartT")
log = logging.getLogger(__name__)


class UnfitFlowError(Exception):
    """What is offered as a flow cannot be taken; says why."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The flows by name, which of them are `foreign` (of other packages), and a sentence for each that was left out."""

    flows: Mapping[str, Flow]
    foreign: frozenset[str]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """What is said to be a flow: `place` is where it is named, `reference` its module and attribute."""

    place: str
    reference: str


@lru_cache(maxsize=1)
def installed() -> Installed:
    """The flows of this process, read once."""
    return read([*_by_entry_points(), *_by_settings(load_settings().flows)])


def all_flows() -> Mapping[str, Flow]:
    """The flows by name."""
    return installed().flows


def come_and_gone(connection: "sa.Connection") -> dict[str, Flow]:
    """By name the flows that come and go, as they are now."""
    found: dict[str, Flow] = {}
    for reference in COME_AND_GO:
        found |= pkgutil.resolve_name(reference)(connection)
    return {name: flow for name, flow in found.items() if name not in all_flows()}


def known_scopes(connection: "sa.Connection | None" = None) -> list[Scope]:
    """The scopes that keys may have to send to these flows; with a connection, to those that come and go, too."""
    flows = [*all_flows().values(), *(come_and_gone(connection).values() if connection is not None else ())]
    return [flow.scope for flow in flows if flow.scope]


def read(foreign: Iterable[Offered]) -> Installed:
    """Our flows, and those of `foreign` that can be taken. The first of two with the same name counts."""
    flows = {flow.name: flow for flow in (pkgutil.resolve_name(reference) for reference in BUILT_IN)}
    ours = frozenset(flows)
    faults: list[str] = []
    for offered in foreign:
        try:
            flow = _resolved(offered.reference)
            if flow is flows.get(flow.name):  # named in two places
                continue
            _check(flow, flows)
        except Exception as error:  # whatever the code of others raises
            faults.append(f"The flow {offered.reference} ({offered.place}) is left out: {_said(error)}")
            continue
        flows[flow.name] = flow
    for fault in faults:
        log.error("%s", fault)
    return Installed(flows, frozenset(flows) - ours, tuple(faults))


def parts(
    found: Installed, what: str, load: Callable[[Flow, Any], PartT]
) -> tuple[dict[str, PartT], list[str]]:
    """`load` of the part that each flow names under `what`, by the flow's name; a sentence for each that failed."""
    loaded: dict[str, PartT] = {}
    faults: list[str] = []
    for name, flow in found.flows.items():
        reference = getattr(flow, what)
        if reference is None:
            continue
        try:
            loaded[name] = load(flow, pkgutil.resolve_name(reference))
        except Exception as error:
            if name not in found.foreign:
                raise
            faults.append(f"The {what} of the flow {name} ({reference}) cannot be used: {_said(error)}")
            log.exception("%s", faults[-1])
    return loaded, faults


def _by_entry_points() -> list[Offered]:
    return [
        Offered(f"entry point of {one.dist.name if one.dist else 'a package'}", one.value)
        for one in sorted(entry_points(group=GROUP))
    ]


def _by_settings(listed: str) -> list[Offered]:
    return [Offered("INGESTION_FLOWS", one.strip()) for one in listed.split(",") if one.strip()]


def _resolved(reference: str) -> Flow:
    flow = pkgutil.resolve_name(reference if ":" in reference else f"{reference}:{ATTRIBUTE}")
    if not isinstance(flow, Flow):
        raise UnfitFlowError(f"it is a {type(flow).__name__}, not a landing.flows.Flow")
    return flow


def _check(flow: Flow, others: Mapping[str, Flow]) -> None:
    if not _NAME.fullmatch(flow.name):
        raise UnfitFlowError(f"its name {flow.name!r} must be lower-case letters, digits and _, at most 63")
    if flow.name in _TAKEN or flow.name in others:
        raise UnfitFlowError(f"the name {flow.name!r} is taken; give it another")
    if flow.definitions is None:
        raise UnfitFlowError("it names no `definitions`, so nothing would take its payloads")
    if flow.scope is None:
        return
    scopes = {other.scope.name for other in others.values() if other.scope}
    if not _NAME.fullmatch(flow.scope.name) or flow.scope.name in _TAKEN_SCOPES | scopes:
        raise UnfitFlowError(f"its scope {flow.scope.name!r} is taken or no name; give it another")
    try:
        re.compile(flow.scope.grammar())
    except re.error as error:
        raise UnfitFlowError(f"the pattern of its scope is no regular expression: {error}") from error


def _said(error: Exception) -> str:
    told = str(error).strip().partition("\n")[0]
    return (
        told if isinstance(error, UnfitFlowError) else f"{type(error).__name__}: {told or 'no reason given'}"
    )
