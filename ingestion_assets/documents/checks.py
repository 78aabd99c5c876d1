"""Asset checks of the documents flow: of what a slice stored, by its step; of all that is stored, every hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.documents.flow import NAME

if TYPE_CHECKING:
    from ingestion_assets.documents.work import DocumentsWork

_CHUNKS, _EMBEDDINGS, _FILES = (dg.AssetKey([NAME, name]) for name in ("chunks", "embeddings", "files"))
_SAID = {
    "chunks_match_their_text": (_CHUNKS, "Every chunk is the text at its span, and none is missing."),
    "no_chunk_beyond_the_window": (_CHUNKS, "No chunk has more tokens than its model reads."),
    "every_chunk_has_a_vector": (_EMBEDDINGS, "Every chunk has a vector of its content's model."),
}
FEW_FAILURES = 0.5


def _specs(asset: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=of, description=said)
        for name, (of, said) in _SAID.items()
        if of == asset
    ]


FILES = [
    dg.AssetCheckSpec(
        "few_files_fail", asset=_FILES, description=f"At most {FEW_FAILURES:.0%} of a slice's files fail."
    )
]
CHUNKS, EMBEDDINGS = _specs(_CHUNKS), _specs(_EMBEDDINGS)


def check_files(work: DocumentsWork) -> dg.AssetCheckResult:
    """Of a slice's files."""
    outcomes = work.worked().outcomes
    files, failed = sum(outcomes.values()), outcomes.get("failed", 0)
    return dg.AssetCheckResult(
        check_name="few_files_fail", passed=failed <= FEW_FAILURES * files, severity=dg.AssetCheckSeverity.WARN,
        metadata={"files": files, "failed": failed},
    )  # fmt: skip


def check_stored(work: DocumentsWork, specs: list[dg.AssetCheckSpec]) -> list[dg.AssetCheckResult]:
    """Of what a slice stored."""
    wrong = work.faults()
    return [
        dg.AssetCheckResult(
            check_name=spec.name, passed=not wrong[spec.name], metadata={"wrong": dg.MetadataValue.json(wrong[spec.name])}
        )
        for spec in specs
    ]  # fmt: skip


@dg.multi_asset_check(
    name="documents_agree",
    specs=[
        dg.AssetCheckSpec("all_counts_agree", asset=_FILES, description="A job's counts are those of its files."),
        dg.AssetCheckSpec("all_chunks_match_their_text", asset=_CHUNKS, description="Of all contents."),
        dg.AssetCheckSpec("no_orphans", asset=_CHUNKS, description="Every content is of a document, every vector of a chunk."),
        dg.AssetCheckSpec("all_chunks_have_a_vector", asset=_EMBEDDINGS, description="Of all contents."),
    ],
    can_subset=True,
)  # fmt: skip
def documents_agree(context):
    """All that is stored agrees with itself."""
    from ingestion_assets.documents.verification import faults  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    with postgres.engine().connect() as connection:
        wrong = faults(connection, load_settings())
    for name, asset, kind in (
        ("all_counts_agree", _FILES, "accounting"),
        ("all_chunks_match_their_text", _CHUNKS, "chunks_match_their_text"),
        ("no_orphans", _CHUNKS, "no_orphans"),
        ("all_chunks_have_a_vector", _EMBEDDINGS, "every_chunk_has_a_vector"),
    ):
        if dg.AssetCheckKey(asset, name) in context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                check_name=name, asset_key=asset, passed=not wrong[kind], metadata={"wrong": dg.MetadataValue.json(wrong[kind])}
            )  # fmt: skip
