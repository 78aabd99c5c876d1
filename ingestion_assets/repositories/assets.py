"""The assets of the repositories flow: the stages of a run's claim of one repository's submissions."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.orchestration.stages import Stages
from ingestion_assets.repositories import checks
from ingestion_assets.repositories.flow import NAME, REPOSITORIES

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working
    from ingestion_assets.repositories.work import RepositoryWork

POSTGRES = {"postgres"}
PARTITIONS = dg.DynamicPartitionsDefinition(name=NAME)


def _start(run: "Working") -> "RepositoryWork":
    from ingestion_assets.repositories.settings import repositories_settings  # noqa: PLC0415
    from ingestion_assets.repositories.starting import begin  # noqa: PLC0415

    return begin(run, repositories_settings())


stages = Stages(flow=REPOSITORIES, partitions_def=PARTITIONS, start=_start)

queue = stages.raw_batches(
    "Submissions of a repository that wait. A run takes all of them, one pass serves them.", kinds={"json"}
)


@stages.asset(
    deps=["queue"],
    kinds={"git", "postgres"},
    columns={
        "path": "text: its path in the tree, other bytes than UTF-8 escaped",
        "blob": "bytea: the id of its content",
        "size": "bigint: bytes",
        "language": "text: what it is written in",
        "state": "text: embedded or skipped",
        "reason": "text: why it is skipped",
        "measure": "text: the number that the reason is about",
    },
    check_specs=checks.SNAPSHOTS,
)
def snapshots(work: "RepositoryWork") -> dg.MaterializeResult:
    """Every path of the repository's tree at one commit, each embedded or skipped with a reason."""
    from ingestion_assets.repositories.sourcing import counted  # noqa: PLC0415

    sourced = work.sourced()
    facts: dict[str, Any] = {}
    if sourced is not None:
        facts = counted(sourced.files) if sourced.unchanged is None else dict(sourced.unchanged.facts)
        facts = {name: facts.get(name) for name in ("files", "embedded", "skipped", "languages", "reasons")}
        facts |= {
            "commit": sourced.commit or "nothing was committed",
            "unchanged": sourced.unchanged is not None,
        }
        facts["dagster/partition_row_count"] = facts["files"]
    return _result(work, facts, ("cloning", "listing"), checks.check_snapshots(sourced, work.refused))


@stages.asset(
    deps=["snapshots"],
    kinds=POSTGRES,
    columns={
        "source": "text: the file that uses",
        "target": "text: the file that is used",
        "kind": "text: import, reference or call",
        "weight": "real: how much it says",
        "names": "text[]: what is used",
    },
    check_specs=checks.GRAPH,
)
def code_graph(work: "RepositoryWork") -> dg.MaterializeResult:
    """Symbols, and which file uses which: by import, reference and call. What does not resolve is counted, not guessed."""
    from ingestion_assets.repositories.graphing import edges_by_kind  # noqa: PLC0415
    from ingestion_assets.repositories.paths import shown  # noqa: PLC0415
    from ingestion_assets.repositories.work import MOST_UNREAD  # noqa: PLC0415

    graphed = work.graphed()
    if graphed is None:
        known = work.facts_before()
        facts = {
            name: known[name]
            for name in ("symbols", "edges", "unresolved", "unread_manifests")
            if name in known
        }
    else:
        edges = edges_by_kind(graphed.graph)
        facts = {
            "symbols": graphed.symbols, "edges": edges, "unresolved": graphed.graph.unresolved,
            "unread_manifests": [shown(path) for path in graphed.graph.unread[:MOST_UNREAD]],
            "dagster/partition_row_count": sum(edges.values()),
        }  # fmt: skip
    return _result(work, facts, ("parsing", "linking"), checks.check_graph(graphed))


@stages.asset(
    deps=["snapshots", "code_graph"],
    kinds={"postgres", "pytorch"},
    columns={
        "path": "text: the file",
        "stable": "halfvec: comparable between versions and repositories",
        "trained": "halfvec: by the repository's own links, comparable within the snapshot",
    },
    check_specs=checks.EMBEDDINGS,
)
def embeddings(work: "RepositoryWork") -> dg.MaterializeResult:
    """A structural vector of each file, and vectors of its text by chunk. Readers see the snapshot from now on."""
    embedded = work.embedded()
    known = work.facts_before() if embedded is None else embedded.facts
    facts: dict[str, Any] = {
        name: known[name]
        for name in ("held_out_auc", "stable_auc", "training_helped")
        if known.get(name) is not None
    }
    if known:
        facts["dagster/partition_row_count"] = known.get("embedded", 0)
    text = embedded.text if embedded is not None else None
    facts |= {"chunks_embedded": text.chunks if text else 0}
    if text is not None:
        facts |= {"chunks_reused": text.reused, "chunks_without_text": text.withheld}
    return _result(work, facts, ("embedding", "training", "publishing"), checks.check_embeddings(embedded))


ingestion_log = stages.ingestion_log(
    "What became of the submissions.",
    deps=["embeddings"],
    kinds=POSTGRES,
    accounting="Every submission has a result or the reason why not.",
    accounts=lambda outcome: bool(outcome.result),
)
STAGES = [queue, snapshots, code_graph, embeddings, ingestion_log]


def _result(
    work: "RepositoryWork", facts: dict[str, Any], of: tuple[str, ...], results: list[dg.AssetCheckResult]
) -> dg.MaterializeResult:
    took = {
        f"{stage}_{name}": value
        for stage in of
        for name, value in work.indexing.watch.took.get(stage, {}).items()
    }
    why = {} if work.refused is None else {"error": work.refused.reason}
    return dg.MaterializeResult(metadata={**facts, **took, **why}, check_results=results)
