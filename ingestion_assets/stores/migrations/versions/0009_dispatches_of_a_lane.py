"""The newest dispatches of a lane, by an index: whether they came to anything decides when the next run is asked for."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("CREATE INDEX dispatches_lane ON ingestion.dispatches (flow, lane, requested_at)")


def downgrade() -> None:
    op.execute("DROP INDEX ingestion.dispatches_lane")
