"""Which errors will pass by themselves."""

import psycopg.errors
import pytest
from sqlalchemy.exc import OperationalError

from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.orchestration.retries import is_transient


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        (psycopg.errors.AdminShutdown("terminating connection"), True),
        (psycopg.OperationalError("the connection is lost"), True),
        (psycopg.errors.ProgramLimitExceeded("index row size 2800 exceeds btree maximum 2704"), False),
    ],
)
def test_a_limit_of_postgresql_is_exceeded_again_with_the_same_values(
    cause: psycopg.Error, *, passes: bool
) -> None:
    assert is_transient(cause) is passes
    assert is_transient(OperationalError("INSERT", {}, cause)) is passes


def test_landing_storage_that_is_away_comes_back() -> None:
    assert is_transient(LandingUnavailableError("unreachable"))
    assert not is_transient(FileNotFoundError("gone"))
