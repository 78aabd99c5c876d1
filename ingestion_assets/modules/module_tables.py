"""The flow's tables as SQLAlchemy sees them; the migration defines them."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

_metadata = sa.MetaData(schema="ingestion")
_Time = sa.TIMESTAMP(timezone=True)

sites = sa.Table(
    "sites",
    _metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("slug", sa.Text),
    sa.Column("url", sa.Text),
    sa.Column("active", sa.Boolean),
    sa.Column("webhook_url", sa.Text),
    sa.Column("webhook_secret", sa.Text),
    sa.Column("created_at", _Time),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("snapshot_at", _Time),
    sa.Column("full_snapshot_at", _Time),
    sa.Column("drupal_version", sa.Text),
    sa.Column("php_version", sa.Text),
    sa.Column("site_info", JSONB(none_as_null=True)),
)

syncs = sa.Table(
    "module_syncs",
    _metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("site_id", sa.BigInteger),
    sa.Column("state", sa.Text),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("sync_type", sa.Text),
    sa.Column("snapshot_at", _Time),
    sa.Column("received_at", _Time),
    sa.Column("applied_at", _Time),
    sa.Column("principal", sa.Text),
    sa.Column("attributes", JSONB),
    sa.Column("modules", sa.Integer),
    sa.Column("counts", JSONB),
    sa.Column("unchanged_names", ARRAY(sa.Text)),
    sa.Column("superseded_by", UUID),
    sa.Column("result", JSONB(none_as_null=True)),
)

# What a module reports beside its name, in the order in which it is copied and compared.
REPORTED = (
    "name", "type", "version", "status", "schema_version", "package", "core_compatibility", "dependencies", "description",
    "project_link", "security_coverage", "project", "datestamp",
)  # fmt: skip
states = sa.table(
    "module_states",
    *map(sa.column, ("site_id", "machine_name", "sequence", "until_sequence", "valid_from", *REPORTED)),
    sa.column("present", sa.Boolean),
    schema="ingestion",
)

attempts = sa.Table(
    "module_sync_attempts",
    _metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("site_id", sa.BigInteger),
    sa.Column("at", _Time),
    sa.Column("principal", sa.Text),
    sa.Column("remote_address", sa.Text),
    sa.Column("user_agent", sa.Text),
    sa.Column("via", sa.Text),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("status", sa.Integer),
    sa.Column("outcome", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("receipt", UUID),
)
