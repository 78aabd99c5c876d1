"""What syncs and jobs left that did not look at their connection's options, or at whether it was still there, is put right."""

from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    # Stored by jobs whose connection was deleted meanwhile: no sync would ever take them out.
    op.execute("""
        UPDATE documents.documents document SET removed_at = clock_timestamp() WHERE removed_at IS NULL
          AND NOT EXISTS (SELECT FROM documents.connections WHERE id = document.connection_id)
    """)
    # The next sync lists all by the options, instead of what has changed.
    op.execute("""
        UPDATE documents.connections SET sync_token = NULL
        WHERE coalesce(sync_options -> 'source_specific_options', '{}') <> '{}'
    """)


def downgrade() -> None:
    """What the upgrade did is right before it, too."""
