"""Metadata that a person on call wants at a materialization, the same for every flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from ingestion_assets.landing.claims import Claim
    from ingestion_assets.landing.drop_outcomes import DropOutcome
    from ingestion_assets.settings import Settings

ROWS_SHOWN = 10


def claim_metadata(
    claim: Claim, *, seconds_claiming: float, settings: Settings
) -> dict[str, dg.MetadataValue]:
    """What was claimed, how long it had waited, and where its receipts are."""
    now = claim.clock.time()
    open_drops = [drop for drop in claim.drops if drop.state != "done"]
    waited = sorted((now - drop.received_at).total_seconds() for drop in open_drops)
    metadata: dict[str, dg.MetadataValue] = {
        "mode": dg.MetadataValue.text("rebuild of the partition" if claim.rebuild else "what had landed"),
        "payloads": dg.MetadataValue.int(len(claim.drops)),
        "records": dg.MetadataValue.int(sum(drop.records for drop in claim.drops)),
        "bytes": dg.MetadataValue.int(sum(drop.size_bytes for drop in claim.drops)),
        "seconds_claiming": dg.MetadataValue.float(round(seconds_claiming, 3)),
    }
    if waited:
        metadata["seconds_waited_p50"] = dg.MetadataValue.float(round(percentile(waited, 0.5), 3))
        metadata["seconds_waited_p95"] = dg.MetadataValue.float(round(percentile(waited, 0.95), 3))
        metadata["receipts"] = dg.MetadataValue.md(
            "\n".join(f"- [{drop.id}]({settings.receipts_url}/{drop.id})" for drop in open_drops[:ROWS_SHOWN])
        )
    return metadata


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered values lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def rejects_table(outcomes: Sequence[DropOutcome]) -> dict[str, dg.MetadataValue]:
    """A small table of rejects, empty if there are none."""
    rows = [
        dg.TableRecord(
            {
                "receipt": str(outcome.drop_id),
                "position": reject.position,
                "kind": reject.kind,
                "code": reject.code,
                "reason": reject.reason[:200],
            }
        )
        for outcome in outcomes
        for reject in outcome.rejects[:ROWS_SHOWN]
    ][:ROWS_SHOWN]
    return {"rejects_shown": dg.MetadataValue.table(rows)} if rows else {}
