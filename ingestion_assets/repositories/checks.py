"""Asset checks of the repositories flow: made by the step of what it wrote, before readers see any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.repositories.flow import NAME

if TYPE_CHECKING:
    from ingestion_assets.repositories.graphing import Graphed
    from ingestion_assets.repositories.sourcing import Sourced
    from ingestion_assets.repositories.work import Embedded, Refused

MOST_UNRESOLVED = 0.07
BY_LIMITS = ("over_limit", "too_large", "too_deep", "parse_timeout", "parse_failed")
_SNAPSHOTS, _GRAPH, _EMBEDDINGS = (
    dg.AssetKey([NAME, name]) for name in ("snapshots", "code_graph", "embeddings")
)
_BLOCKING = {
    "accounting": "Every path of the tree has one row.",
    "one_vector_each": "Every embedded file has a structural vector, no other file has one.",
    "no_empty_vector": "Every structural vector is finite and of length one.",
    "only_files_of_the_snapshot": "Symbols and links are of embedded files of the snapshot.",
}
SNAPSHOTS = [
    dg.AssetCheckSpec("cloned", asset=_SNAPSHOTS, description="The repository could be cloned and read."),
    dg.AssetCheckSpec(
        "few_left_out_by_limits",
        asset=_SNAPSHOTS,
        description="No file is left out because of its size, depth, or the number of files.",
    ),
]
GRAPH = [
    dg.AssetCheckSpec(
        "relative_imports_resolve", asset=_GRAPH,
        description=f"At most {MOST_UNRESOLVED:.0%} of the relative imports of a language lead nowhere.",
    )
]  # fmt: skip
EMBEDDINGS = [
    *(
        dg.AssetCheckSpec(name, asset=_EMBEDDINGS, blocking=True, description=said)
        for name, said in _BLOCKING.items()
    ),
    dg.AssetCheckSpec(
        "training_helps",
        asset=_EMBEDDINGS,
        description="The trained part finds held-out links better than the stable part alone.",
    ),
]


def check_snapshots(sourced: Sourced | None, refused: Refused | None) -> list[dg.AssetCheckResult]:
    """Whether there is a snapshot, or why not; of its files nothing where none was begun, as its commit is known."""
    from ingestion_assets.repositories.sourcing import counted  # noqa: PLC0415

    why = {} if refused is None else {"code": refused.code, "error": refused.reason}
    cloned = dg.AssetCheckResult(check_name="cloned", passed=refused is None, metadata=why)
    if sourced is None or sourced.unchanged is not None:
        return [cloned]
    reasons = counted(sourced.files)["reasons"]
    left_out = {reason: reasons[reason] for reason in BY_LIMITS if reason in reasons}
    return [cloned, _warning("few_left_out_by_limits", passed=not left_out, **left_out)]


def check_graph(graphed: Graphed | None) -> list[dg.AssetCheckResult]:
    """Of the graph that was made, if one was."""
    if graphed is None:
        return []
    shares = graphed.graph.unresolved_relative()
    wrong = {language: round(share, 4) for language, share in shares.items() if share > MOST_UNRESOLVED}
    return [_warning("relative_imports_resolve", passed=not wrong, **wrong)]


def check_embeddings(embedded: Embedded | None) -> list[dg.AssetCheckResult]:
    """Of the snapshot as it was written, if one was; it is published if none of the blocking ones failed."""
    if embedded is None:
        return []
    faults = embedded.faults
    helped = embedded.structure.held_out_auc is None or embedded.structure.trained is not None
    return [
        *(
            dg.AssetCheckResult(
                check_name=name, passed=not faults.get(name), metadata={"wrong": dg.MetadataValue.json(faults.get(name, []))}
            )
            for name in _BLOCKING
        ),
        _warning("training_helps", passed=helped),
    ]  # fmt: skip


def _warning(name: str, *, passed: bool, **metadata: float) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata
    )
