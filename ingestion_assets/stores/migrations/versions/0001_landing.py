"""The spine: segments, drops, dispatches, leases, receipt records, rejects."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE SCHEMA IF NOT EXISTS ingestion;

        CREATE TABLE ingestion.drops (
            id uuid PRIMARY KEY,
            flow text NOT NULL,
            partition text NOT NULL,
            lane text NOT NULL,
            subject text,
            principal text NOT NULL,
            idempotency_key text,
            body_sha256 bytea NOT NULL,
            size_bytes bigint NOT NULL,
            records int NOT NULL,
            segment text NOT NULL,
            "offset" bigint NOT NULL,
            length bigint NOT NULL,
            attributes jsonb NOT NULL DEFAULT '{}',
            state text NOT NULL DEFAULT 'landed' CHECK (state IN ('landed', 'claimed', 'held', 'done', 'failed')),
            attempts int NOT NULL DEFAULT 0,
            deferrals int NOT NULL DEFAULT 0,
            not_before timestamptz,
            claim text,
            received_at timestamptz NOT NULL,
            claimed_at timestamptz,
            finished_at timestamptz,
            run_id text,
            result jsonb,
            errors jsonb
        ) WITH (fillfactor = 80);
        CREATE UNIQUE INDEX drops_idempotency ON ingestion.drops (principal, flow, idempotency_key)
            WHERE idempotency_key IS NOT NULL;
        CREATE INDEX drops_landed ON ingestion.drops (flow, lane, id) WHERE state = 'landed';
        CREATE INDEX drops_claimed ON ingestion.drops (claim) WHERE state = 'claimed';
        CREATE INDEX drops_partition ON ingestion.drops (flow, partition, id);
        CREATE INDEX drops_segment ON ingestion.drops (segment);
        CREATE INDEX drops_finished ON ingestion.drops (flow, finished_at);

        CREATE TABLE ingestion.dispatches (
            id uuid PRIMARY KEY,
            run_id text,
            flow text NOT NULL,
            lane text NOT NULL,
            partition text NOT NULL,
            state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'claimed', 'finished', 'lost')),
            requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            ended_at timestamptz
        );
        CREATE UNIQUE INDEX dispatches_pending ON ingestion.dispatches (flow, lane) WHERE state = 'pending';
        CREATE INDEX dispatches_run ON ingestion.dispatches (run_id) WHERE state = 'claimed';
        CREATE INDEX dispatches_open ON ingestion.dispatches (requested_at) WHERE state IN ('pending', 'claimed');

        CREATE TABLE ingestion.leases (
            flow text NOT NULL,
            lane text NOT NULL,
            holder text NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (flow, lane)
        );

        CREATE TABLE ingestion.landing_watermark (
            singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
            minute timestamptz NOT NULL
        );

        CREATE TABLE ingestion.receipt_records (
            drop_id uuid PRIMARY KEY REFERENCES ingestion.drops ON DELETE CASCADE,
            outcomes bytea NOT NULL
        );

        CREATE TABLE ingestion.rejects (
            id uuid PRIMARY KEY,
            flow text NOT NULL,
            drop_id uuid NOT NULL REFERENCES ingestion.drops ON DELETE CASCADE,
            position int NOT NULL,
            kind text NOT NULL,
            code text NOT NULL,
            reason text NOT NULL,
            record bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            redriven_at timestamptz,
            redriven_as uuid,
            UNIQUE (drop_id, position, kind)
        );
        CREATE INDEX rejects_listing ON ingestion.rejects (flow, id);
    """)


def downgrade() -> None:
    op.execute("DROP SCHEMA ingestion CASCADE")
