"""Passwords of the jobs that syncs make, sealed and bound to their connection."""

from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.execute("ALTER TABLE documents.connections ADD COLUMN sealed_passwords text")
    # Asterisks stood there, which are no passwords: they have to be given again.
    op.execute(
        "UPDATE documents.connections SET sync_options = sync_options #- '{source_specific_options,passwords}'"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE documents.connections DROP COLUMN sealed_passwords")
