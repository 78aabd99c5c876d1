"""What a run asks at a safe point of its work: what is wanted of a payload that it works on."""

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim, ClaimLostError, DropRef, require_lanes
from ingestion_assets.landing.tables import drops
from ingestion_assets.landing.wanted import Wanted


def wanted_of(connection: sa.Connection, claim: Claim, drop: DropRef) -> Wanted | None:
    """What is wanted of a drop that a run works on. Raises `ClaimLostError`."""
    if claim.rebuild and drop.state == "done":
        require_lanes(connection, claim)
        return None  # its receipt stays as it is
    query = sa.select(drops.c.wanted).where(
        drops.c.id == drop.id, drops.c.state == "claimed", drops.c.claim == claim.claim_id
    )
    held = connection.execute(query).one_or_none()
    if held is None:
        raise ClaimLostError(f"drop {drop.id} is no longer held by run {claim.run_id}")
    return held.wanted
