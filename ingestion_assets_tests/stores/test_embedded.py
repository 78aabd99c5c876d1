"""The embedded servers keep what they acknowledged, however they end."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from pymongo import MongoClient, errors

from ingestion_assets.stores.embedded import (
    EmbeddedServer,
    embedded_mongodb,
    embedded_postgres,
    embedded_valkey,
    free_port,
)
from ingestion_assets_tests.servers import running, start, stop


def _postgres_write(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def _postgres_read(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value")]


def _mongodb_write(url: str, value: int) -> None:
    with MongoClient(url) as client:
        client.test.kept.insert_one({"_id": value})


def _mongodb_read(url: str) -> list[int]:
    with MongoClient(url) as client:
        return sorted(document["_id"] for document in client.test.kept.find())


def _valkey_write(url: str, value: int) -> None:
    with redis.Redis.from_url(url) as client:
        client.rpush("kept", value)


def _valkey_read(url: str) -> list[int]:
    with redis.Redis.from_url(url) as client:
        return [int(value) for value in client.lrange("kept", 0, -1)]  # pyright: ignore


SERVERS = [
    pytest.param(embedded_postgres, _postgres_write, _postgres_read, id="postgres"),
    pytest.param(embedded_mongodb, _mongodb_write, _mongodb_read, id="mongodb"),
    pytest.param(embedded_valkey, _valkey_write, _valkey_read, id="valkey"),
]


@pytest.mark.parametrize(("make", "write", "read"), SERVERS)
def test_what_was_acknowledged_survives_kill_and_stop(
    make: Callable[..., EmbeddedServer],
    write: Callable[[str, int], None],
    read: Callable[[str], list[int]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "server"
    server = make(folder=folder, port=free_port())
    process = start(server)
    write(server.url, 1)
    process.send_signal(signal.SIGKILL)
    process.wait()

    server = make(folder=folder, port=free_port())
    process = start(server)
    assert read(server.url) == [1]
    write(server.url, 2)
    stop(server, process)

    with running(make(folder=folder, port=free_port())) as server:
        assert read(server.url) == [1, 2]


def test_postgres_starts_after_the_power_failed_while_it_made_its_lock_file(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with running(embedded_postgres(folder=folder, port=free_port())) as server:
        _postgres_write(server.url, 1)
    (folder / "data" / "postmaster.pid").touch()
    with running(embedded_postgres(folder=folder, port=free_port())) as server:
        assert _postgres_read(server.url) == [1]


def test_postgres_has_pgvector_and_sorts_the_same_everywhere(postgres_server: str) -> None:
    with psycopg.connect(postgres_server) as connection:
        connection.execute("CREATE EXTENSION vector")
        distance = connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'::vector").fetchone()
        locale = connection.execute(
            "SELECT datcollate FROM pg_database WHERE datname = 'ingestion'"
        ).fetchone()
        connection.rollback()
    assert distance == (1.0,)
    assert locale == ("C.UTF-8",)


def test_all_ask_for_the_password(postgres_server: str, redis_server: str, mongodb_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_server, password="wrong")
    valkey = redis.Redis(port=urlsplit(redis_server).port or 0, password="wrong")
    with pytest.raises(redis.AuthenticationError), valkey:
        valkey.ping()
    address = urlsplit(mongodb_url).netloc.rpartition("@")[2]
    tried: list[Callable[[MongoClient[Any]], object]] = [
        lambda client: client.list_database_names(),
        lambda client: client.test.kept.insert_one({"_id": 0}),
        lambda client: client.admin.command("createUser", "other", pwd="wrong", roles=["root"]),
    ]
    for login, attempt in itertools.product(("", "ingestion:wrong@", "other:wrong@"), tried):
        # A client of its own for each: after a refused login one waits ten seconds before it tries again.
        stranger = MongoClient(f"mongodb://{login}{address}/?directConnection=true&authSource=admin")
        with stranger as client, pytest.raises(errors.OperationFailure, match="authentication"):
            attempt(client)


def test_a_mongodb_folder_that_had_no_user_yet_gets_one_and_keeps_its_data(tmp_path: Path) -> None:
    """As data of a release before that asked nobody."""
    folder = tmp_path / "server"
    with running(embedded_mongodb(folder=folder, port=free_port())) as server:
        _mongodb_write(server.url, 1)
    (folder / "password").unlink()
    with running(embedded_mongodb(folder=folder, port=free_port())) as again:
        assert again.url.partition("@")[0] != server.url.partition("@")[0]
        assert _mongodb_read(again.url) == [1]


def test_passwords_are_for_their_owner_alone(tmp_path: Path) -> None:
    for make in (embedded_postgres, embedded_mongodb, embedded_valkey):
        server = make(folder=tmp_path / make.__name__, port=free_port())
        server.prepare()
        assert (server.folder / "password").stat().st_mode & 0o077 == 0
        password = urlsplit(server.url).password
        assert password
        assert password not in " ".join(server.command)


def test_an_interrupted_initialisation_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    (folder / "data.unfinished" / "base").mkdir(parents=True)
    with running(embedded_postgres(folder=folder, port=free_port())) as server:
        _postgres_write(server.url, 1)
    assert not (folder / "data.unfinished").exists()
    assert not (folder / "initdb.password").exists()
