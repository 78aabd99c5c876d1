"""Statements that end by themselves, and what tells them from a server that is away."""

import time

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.postgres import engine
from ingestion_assets.stores.statement_limits import is_cancelled, is_of_connection, limited


def test_a_statement_ends_in_time_and_its_connection_is_good_for_others(postgres_url: str) -> None:
    shared = engine(postgres_url)
    own = limited(shared, seconds=0.2)
    began = time.monotonic()
    with pytest.raises(OperationalError) as raised, own.begin() as connection:
        connection.execute(sa.text("SELECT pg_sleep(30)"))
    assert time.monotonic() - began < 5
    assert is_cancelled(raised.value)
    assert not is_of_connection(raised.value)
    with shared.begin() as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.3)"))


def test_the_limit_holds_in_each_transaction(postgres_url: str) -> None:
    with limited(engine(postgres_url), seconds=1.5).connect() as connection:
        for _ in range(2):
            assert connection.scalar(sa.text("SHOW statement_timeout")) == "1500ms"
            connection.rollback()


def test_a_broken_connection_is_told_from_a_refused_statement(postgres_url: str) -> None:
    nowhere = sa.create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nowhere")
    with pytest.raises(OperationalError) as raised, limited(nowhere, seconds=1).connect():
        pass
    assert is_of_connection(raised.value)
    own = limited(engine(postgres_url), seconds=1)
    with pytest.raises(OperationalError) as raised, own.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert is_of_connection(raised.value)
    with pytest.raises(ProgrammingError) as refused, own.connect() as connection:
        connection.execute(sa.text("SELECT nothing FROM nowhere"))
    assert not is_of_connection(refused.value)
