"""What must not be seen: the credential of a private repository, and keys that lie in files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ingestion_assets.repositories.credentials import keep_credential
from ingestion_assets.repositories.key_patterns import may_hold_secret
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories.conftest import CREDENTIAL, basic
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.repositories.git_server import Server, answering, serving
from ingestion_assets_tests.repositories.runs import DirectRuns

KEY = "AKIA" + "IOSFODNN7EXAMPLE"
FILES = {"settings.py": f"aws = '{KEY}'\n", "app.py": "def run():\n    return 1\n"}


@pytest.fixture
def private_server(tmp_path: Path) -> Iterator[Server]:
    """A git server that asks for a credential, and which the front door takes repositories of."""
    root = tmp_path / "served"
    GitRepository(root / "team" / "private.git").commit(FILES)
    with (
        answering(serving(root, basic(CREDENTIAL))) as running,
        environment(INGESTION_REPOSITORIES_PRIVATE_HOSTS=running.host),
    ):
        yield running


def test_a_private_repository_is_cloned_and_no_secret_is_stored(private_server: Server, front: Front) -> None:
    runs = DirectRuns(front.engine, front.settings, RepositoriesSettings(private_hosts=private_server.host))
    address = f"/api/v1/ingestion/ingest/{private_server.host}/team/private"
    with front.client() as client:
        partition = client.post(address).json()["repository"]
        (refused,) = runs.run(partition)
        assert refused.failed
        with front.engine.begin() as connection:
            host = f"127.0.0.1:{private_server.port}"
            keep_credential(connection, host, CREDENTIAL, front.settings)
        client.post(address).raise_for_status()
        (outcome,) = runs.run(partition)
        assert outcome.result["status"] == "complete", outcome.errors
    token = CREDENTIAL.partition(":")[2]
    for told in (token, basic(CREDENTIAL)[6:], KEY):
        assert _places_that_hold(front.engine, told) == []
    with front.engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT file.path, chunk.text IS NULL AS withheld, chunk.embedding IS NOT NULL AS embedded
                FROM repositories.files file JOIN repositories.chunks chunk USING (blob) ORDER BY file.path
            """)
        )
        assert [tuple(row) for row in rows] == [("app.py", False, True), ("settings.py", True, True)]


def _places_that_hold(engine: sa.Engine, text: str) -> list[str]:
    """The tables that have the text in a row."""
    tables = sa.text("""
        SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
        WHERE table_schema IN ('repositories', 'ingestion') AND table_type = 'BASE TABLE'
    """)
    with engine.connect() as connection:
        return [
            name
            for name in connection.scalars(tables).all()
            if connection.scalar(
                sa.text(f"SELECT EXISTS (SELECT FROM {name} t WHERE strpos(t::text, :text) > 0)"),
                {"text": text},
            )
        ]


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a1B2" * 9,
        'password = "correct-horse-battery"',
        "postgres://user:hunter2hunter2@db.example.com/x",
        'API_KEY: "0123456789abcdef"',
    ],
)
def test_it_looks_like_a_secret(text: str) -> None:
    assert may_hold_secret(f"before\n{text}\nafter")


@pytest.mark.parametrize(
    "text",
    [
        "password = read_password()",
        "token = None",
        "https://example.com/a:b@c",
        'key = "name"',
        "def secret(): ...",
    ],
)
def test_it_does_not(text: str) -> None:
    assert not may_hold_secret(text)
