"""The ledger's tables as SQLAlchemy sees them; the migrations define them."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

from ingestion_assets.landing.drops import DropFacts

_TYPES: dict[Any, Any] = {str: sa.Text, str | None: sa.Text, int: sa.Integer, Mapping[str, str]: JSONB}

metadata = sa.MetaData(schema="ingestion")

drops = sa.Table(
    "drops",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    *(sa.Column(fact.name, _TYPES[fact.type]) for fact in msgspec.structs.fields(DropFacts)),
    sa.Column("body_sha256", sa.LargeBinary),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("segment", sa.Text),
    sa.Column("offset", sa.BigInteger),
    sa.Column("length", sa.BigInteger),
    sa.Column("state", sa.Text),
    sa.Column("attempts", sa.Integer),
    sa.Column("deferrals", sa.Integer),
    sa.Column("not_before", sa.TIMESTAMP(timezone=True)),
    sa.Column("queued_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("claim", sa.Text),
    sa.Column("received_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("claimed_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("finished_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("run_id", sa.Text),
    sa.Column("wanted", sa.Text),
    sa.Column("result", JSONB(none_as_null=True)),
    sa.Column("errors", JSONB(none_as_null=True)),
)

dispatches = sa.Table(
    "dispatches",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("flow", sa.Text),
    sa.Column("lane", sa.Text),
    sa.Column("partition", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("requested_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("ended_at", sa.TIMESTAMP(timezone=True)),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("flow", sa.Text, primary_key=True),
    sa.Column("lane", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True)),
)

landing_watermark = sa.Table(
    "landing_watermark",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True),
    sa.Column("minute", sa.TIMESTAMP(timezone=True)),
)

unreadable_segments = sa.Table(
    "unreadable_segments",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text),
    sa.Column("since", sa.TIMESTAMP(timezone=True)),
    sa.Column("looked_at", sa.TIMESTAMP(timezone=True)),
)

progress = sa.Table(
    "progress",
    metadata,
    sa.Column("drop_id", UUID, primary_key=True),
    sa.Column("number", sa.BigInteger),
    sa.Column("at", sa.TIMESTAMP(timezone=True)),
    sa.Column("state", JSONB),
)

receipt_records = sa.Table(
    "receipt_records",
    metadata,
    sa.Column("drop_id", UUID, primary_key=True),
    sa.Column("outcomes", sa.LargeBinary),
)

rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("flow", sa.Text),
    sa.Column("drop_id", UUID),
    sa.Column("position", sa.Integer),
    sa.Column("kind", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("record", sa.LargeBinary),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("redriven_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("redriven_as", UUID),
)
