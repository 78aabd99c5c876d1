"""What stands beside a site's number in the key of its Dagster partition: its name as it was when the site was made.

Sites that are there have none and keep their number alone as the key: what Dagster knows of them, it knows of that key.
"""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE ingestion.sites ADD COLUMN slug text")


def downgrade() -> None:
    op.execute("ALTER TABLE ingestion.sites DROP COLUMN slug")
