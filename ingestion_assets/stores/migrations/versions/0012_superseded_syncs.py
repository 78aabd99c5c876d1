"""Syncs that are older than what was applied are `superseded` and say by which one; core is asked for and judged like a module.

What is known of `drupal` so far says nothing of the versions that sites run: the feed is asked for it anew, as for the projects that it
was not to know for a week.
"""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.module_syncs DROP CONSTRAINT module_syncs_state_check, ADD COLUMN superseded_by uuid;
        UPDATE ingestion.module_syncs SET state = 'superseded' WHERE state = 'stale';
        ALTER TABLE ingestion.module_syncs ADD CHECK (state IN ('applied', 'superseded', 'held'));

        INSERT INTO ingestion.module_projects (project)
            SELECT 'drupal' WHERE EXISTS (SELECT FROM ingestion.sites WHERE drupal_version IS NOT NULL)
            ON CONFLICT DO NOTHING;
        UPDATE ingestion.module_projects SET etag = NULL, last_modified = NULL, ask_after = '-infinity'
            WHERE project = 'drupal' OR known = false;
    """)


def downgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.module_syncs DROP CONSTRAINT module_syncs_state_check, DROP COLUMN superseded_by;
        UPDATE ingestion.module_syncs SET state = 'stale' WHERE state = 'superseded';
        ALTER TABLE ingestion.module_syncs ADD CHECK (state IN ('applied', 'stale', 'held'))
    """)
