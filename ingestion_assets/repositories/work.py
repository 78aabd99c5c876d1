"""What a run does with its claim of one repository's submissions, stage by stage. One pass serves all of them.

What ends the work early (it is asked to stop, the clone fails, the submissions are too old) leaves nothing to do for later stages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.repositories import index_jobs, snapshots, source_parsing
from ingestion_assets.repositories.clone import CloneError
from ingestion_assets.repositories.embedding_structure import MODEL, Structure, structure_of
from ingestion_assets.repositories.embedding_text import TextEmbedded, embed_text
from ingestion_assets.repositories.faults import faults_of
from ingestion_assets.repositories.graphing import Graphed, edges_by_kind, make_graph
from ingestion_assets.repositories.index_jobs import Begun
from ingestion_assets.repositories.indexing import Indexing, StoppedError
from ingestion_assets.repositories.paths import shown, stored
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.snapshots import GoneError, Models
from ingestion_assets.repositories.sourcing import Sourced, counted, source

Done = TypeVar("Done")
MOST_UNREAD = 20  # manifests that are told by name


def text_space(settings: RepositoriesSettings) -> str:
    """What vectors of text have in common that may be compared; the ids of their models begin with it."""
    return f"{settings.text_model}/"


def models_of(settings: RepositoriesSettings) -> Models:
    """By what vectors are made now: another model, another way of cutting or of parsing makes others."""
    return Models(
        text=f"{text_space(settings)}{source_parsing.VERSION}", structure=f"{MODEL}/{source_parsing.VERSION}"
    )


class WrongSnapshotError(Exception):
    """What was written is not what readers may see."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing comes of the submissions."""

    code: str
    reason: str


@dataclass(slots=True)
class RepositoryWork:
    """The stages of one claim. `begun` are its submissions' jobs."""

    indexing: Indexing
    drops: tuple[DropRef, ...]
    begun: Mapping[UUID, Begun]
    afresh: bool
    refused: Refused | None = None
    stopped: bool = False
    _sourced: Sourced | None = None
    _graphed: Graphed | None = None
    _embedded: "Embedded | None" = None

    def sourced(self) -> Sourced | None:
        """The snapshot that is built, or the one that is still right; None where the work has ended."""
        if self._sourced is None:
            self._sourced = self._unless_ended(lambda: source(self.indexing, afresh=self.afresh))
        return self._sourced

    def graphed(self) -> Graphed | None:
        """The graph of the snapshot; None where the work has ended, or nothing has changed."""
        sourced = self.sourced()
        if self._graphed is None and sourced is not None and sourced.unchanged is None:
            self._graphed = self._unless_ended(lambda: make_graph(self.indexing, sourced))
        return self._graphed

    def embedded(self) -> "Embedded | None":
        """The vectors of the snapshot, which readers see from now on if nothing is wrong with it."""
        sourced, graphed = self.sourced(), self.graphed()
        if self._embedded is None and sourced is not None and graphed is not None:
            self._embedded = self._unless_ended(lambda: _embed(self.indexing, sourced, graphed))
        return self._embedded

    def facts_before(self) -> Mapping[str, Any]:
        """Counts of the snapshot that is still right; none where there is no such."""
        sourced = self.sourced()
        return {} if sourced is None or sourced.unchanged is None else sourced.unchanged.facts

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each submission; kept with its job."""
        embedded = self.embedded()
        if embedded is not None and any(embedded.faults.values()):
            wrong = ", ".join(check for check, faults in embedded.faults.items() if faults)
            raise WrongSnapshotError(f"the snapshot is not published: {wrong} failed")
        if self.stopped:
            return [DropOutcome(drop.id, {}, unfinished=True) for drop in self.drops]
        ended = {drop.id: self._ending(drop.id) for drop in self.drops}
        with self.indexing.engine.begin() as connection:
            for drop_id, (state, facts) in ended.items():
                job = self.begun[drop_id].id if drop_id in self.begun else None
                if job is not None:
                    index_jobs.end(connection, job, state, facts)
        return [self._outcome(drop_id, state, facts) for drop_id, (state, facts) in ended.items()]

    @property
    def unwanted(self) -> bool:
        """Whether nobody wants the work: all of the submissions waited for too long, or were cancelled before they were claimed."""
        return not self.afresh and all(begun.expired for begun in self.begun.values())

    def _unless_ended(self, stage: Callable[[], Done]) -> Done | None:
        if self.stopped or self.refused is not None or self.unwanted:
            return None
        try:
            return stage()
        except (StoppedError, GoneError):
            self.stopped = True
        except CloneError as error:
            if self.indexing.stopped():
                self.stopped = True
            else:
                self.refused = Refused(error.code, str(error))
        return None

    def _ending(self, drop_id: UUID) -> tuple[index_jobs.Ending, dict[str, Any]]:
        begun = self.begun.get(drop_id)
        if begun is not None and begun.expired:
            return "skipped", index_jobs.skipped(begun.id, begun.age_s)
        if self.refused is not None:
            return "failed", {"error": self.refused.reason}
        sourced, embedded = self.sourced(), self.embedded()
        files = (self.facts_before() if embedded is None else embedded.facts)["embedded"]
        return "complete", {
            "commit": None if sourced is None else sourced.commit,
            "files_processed": files,
            "embeddings_generated": files,
            "embeddings_reused": files if embedded is None else embedded.text.files_reused,
            "unchanged": embedded is None,
        }

    def _outcome(self, drop_id: UUID, state: index_jobs.Ending, facts: Mapping[str, Any]) -> DropOutcome:
        begun = self.begun.get(drop_id)
        result = {
            "status": state,
            "job_id": None if begun is None else begun.id,
            "repository": self.indexing.submission.partition,
            **facts,
        }
        if state != "failed" or self.refused is None:
            counts = {"duplicate": 1} if state == "skipped" or facts.get("unchanged") else {"stored": 1}
            return DropOutcome(drop_id, result | counts)
        error = {"code": self.refused.code, "reason": self.refused.reason}
        reject = Reject(-1, "payload", error["code"], error["reason"], b"")
        return DropOutcome(drop_id, result | {"rejected": 1}, (), (reject,), (error,), failed=True)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of the vectors: figures, and by check what is wrong with the snapshot."""

    text: TextEmbedded
    structure: Structure
    facts: Mapping[str, Any]
    faults: Mapping[str, list[str]]


def _embed(indexing: Indexing, sourced: Sourced, graphed: Graphed) -> Embedded:
    with indexing.watch.stage("embedding"):
        of_text = embed_text(indexing, sourced, graphed)
    with indexing.watch.stage("training"):
        structure = structure_of(graphed, tree=sourced.cloned().tree)
        indexing.go_on()
    facts = {
        **counted(graphed.files),
        "symbols": graphed.symbols,
        "edges": edges_by_kind(graphed.graph),
        "unresolved": graphed.graph.unresolved,
        "unread_manifests": [shown(path) for path in graphed.graph.unread[:MOST_UNREAD]],
        "held_out_auc": structure.held_out_auc,
        "stable_auc": structure.stable_auc,
        "training_helped": structure.trained is not None,
        "limits": indexing.stored_limits(),
    }
    with indexing.watch.stage("publishing"):
        with indexing.engine.begin() as connection:
            paths = [stored(path) for path in structure.paths]
            snapshots.write_vectors(
                connection, sourced.snapshot_id, paths, structure.stable, structure.trained
            )
            faults = faults_of(connection, sourced.snapshot_id, files=facts["files"])
        if not any(faults.values()):
            with indexing.engine.begin() as connection:
                snapshots.publish(
                    connection, indexing.claim, sourced.repository_id, sourced.snapshot_id, facts
                )
    return Embedded(of_text, structure, facts, faults)
