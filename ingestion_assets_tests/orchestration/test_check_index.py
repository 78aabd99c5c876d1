"""Runs find what their checks said before by an index of ours, which an upgrade makes, and makes anew where it was interrupted."""

import pytest
import sqlalchemy as sa

from ingestion_assets.stack.migrations import index_checks
from ingestion_assets_tests.orchestration.conftest import Runs

_VALID = sa.text(
    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.ingestion_newest_check')"
)


@pytest.mark.usefixtures("stores_of_the_process")
def test_the_index_is_made_once_and_again_where_it_was_interrupted(runs: Runs, engine: sa.Engine) -> None:
    assert runs.instance.event_log_storage  # which has made its tables
    index_checks()
    index_checks()
    with engine.begin() as connection:
        assert connection.scalar(_VALID) is True
        interrupted = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.ingestion_newest_check'::regclass"
        connection.execute(sa.text(interrupted))
    index_checks()
    with engine.connect() as connection:
        assert connection.scalar(_VALID) is True
