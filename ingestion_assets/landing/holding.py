"""Payloads that wait for somebody's word: letting them go on."""

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.channels import announce

_LET_GO = sa.text("""
    UPDATE ingestion.drops SET state = 'landed', claim = NULL, wanted = NULL, attributes = attributes || CAST(:attributes AS jsonb),
           result = NULL, errors = NULL, not_before = NULL, queued_at = clock_timestamp()
    WHERE id = :id AND flow = :flow AND state = 'held'
    RETURNING flow, lane
""").bindparams(sa.bindparam("attributes", type_=sa.JSON))


def let_go(connection: sa.Connection, drop_id: UUID, *, flow: str, attributes: Mapping[str, str]) -> bool:
    """Put a held payload back into its lane, with more attributes, and wake the lane. False if it was not held."""
    values = {"id": drop_id, "flow": flow, "attributes": dict(attributes)}
    lanes = connection.execute(_LET_GO, values).all()
    announce(connection, [(row.flow, row.lane) for row in lanes])
    return bool(lanes)
