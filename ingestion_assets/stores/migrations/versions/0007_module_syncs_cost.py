"""What a sync of modules pays for: no check of each state's site, and the few versions in need of an update by an index of theirs.

Whoever writes states holds the row of their site.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE ingestion.module_states DROP CONSTRAINT module_states_site_id_fkey;
        CREATE INDEX module_advice_needed ON ingestion.module_advice (project, version, datestamp) WHERE needs_security_update;
    """)


def downgrade() -> None:
    op.execute("""
        DROP INDEX ingestion.module_advice_needed;
        ALTER TABLE ingestion.module_states ADD FOREIGN KEY (site_id) REFERENCES ingestion.sites;
    """)
