"""The commit that a watched repository was submitted for last: one that comes to nothing is not tried at each look."""

from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.execute("ALTER TABLE repositories.repositories ADD COLUMN tried text")


def downgrade() -> None:
    op.execute("ALTER TABLE repositories.repositories DROP COLUMN tried")
