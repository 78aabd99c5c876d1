"""Visits go to a function of the shop's own, which keeps those of pages that there are."""

from collections.abc import Iterator

import sqlalchemy as sa
from shop.database import begin
from shop.models import Visit

from ingestion_assets.zones import Batch, Outcome, drop_zone

KEEP = sa.text("INSERT INTO shop.visits VALUES (:id, :page, :at, :seconds) ON CONFLICT DO NOTHING")


@drop_zone(name="visits", records=Visit, key="id", owners=["team:shop"])
def pages(batch: Batch[Visit]) -> Iterator[Outcome]:
    """Every visit once."""
    kept = []
    for index, visit in enumerate(batch.records):
        if visit.page.startswith("/"):
            kept.append({"id": visit.id, "page": visit.page, "at": visit.at, "seconds": visit.seconds})
        else:
            yield Outcome.reject(index, "no_page", "a page begins with a slash")
    with begin() as connection:
        connection.execute(KEEP, kept)
