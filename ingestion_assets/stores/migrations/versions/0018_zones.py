"""Drop zones: what is in force of each, and the deliveries to them whose sender could not be verified, by the hour."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ingestion.zones (
            name         text PRIMARY KEY,
            location     text NOT NULL,       -- the code location whose runs take its payloads
            version      text NOT NULL,       -- of the document, its secrets among it
            document     text NOT NULL,       -- JSON
            refused      text,                -- why a newer document is not in force
            published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            seen_at      timestamptz NOT NULL DEFAULT clock_timestamp()
        )
    """)
    op.execute("""
        CREATE TABLE ingestion.zone_refusals (
            zone           text NOT NULL,
            hour           timestamptz NOT NULL,
            code           text NOT NULL,
            deliveries     bigint NOT NULL,
            last_at        timestamptz NOT NULL,
            remote_address text,
            delivery_id    text,
            body_sha256    text,
            PRIMARY KEY (zone, hour, code)
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE ingestion.zone_refusals, ingestion.zones")
