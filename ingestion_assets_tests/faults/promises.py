"""The embedded stores' own promises: what their clients were told to be stored, under a recording, and whether it is there."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg
import redis
from pymongo import MongoClient, UpdateOne

from ingestion_assets.stores.embedded import (
    EmbeddedServer,
    embedded_mongodb,
    embedded_postgres,
    embedded_valkey,
)

WRITERS = 3
KEYS = 40
"""Keys of each writer; each is written again and again, so that an old version in place of a newer one is noticed."""
GROUP = 4
"""Keys that are sometimes written together, in one transaction where the store has them."""
MOST_TEXT = 12_000
Note = Callable[[Any], None]
Found = Mapping[str, tuple[int, str]]
"""Version and text by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A store, the writer that notes what it was told, what disturbs it meanwhile, and reading everything back."""

    server: Callable[..., EmbeddedServer]
    write: Callable[[Any, Mapping[str, tuple[int, str]]], None]
    connect: Callable[[str], Any]
    prepare: Callable[[Any], None]
    disturb: Callable[[Any], None]
    read: Callable[[Any], Found]
    initialised_by_python: bool = True
    """Not by programs that get no more of the environment than they need, and so no recorder."""


def text(key: str, version: int) -> str:
    """The one text of a key's version, of any length, so that a part of another one is noticed."""
    seed = sha256(f"{key}/{version}".encode()).hexdigest()
    return seed * (1 + int(seed[:6], 16) % (MOST_TEXT // 64))


def write_for_a_while(promise: Promise, url: str, note: Note, *, seed: int, seconds: float) -> None:
    """Several writers at once, each noting every version once it was told that it is stored. Raises what they raise."""
    over = threading.Event()
    raised: list[BaseException] = []

    def guarded(work: Callable[[Any], None]) -> None:
        try:
            with ExitStack() as held:
                work(held.enter_context(promise.connect(url)))
        except BaseException as error:
            raised.append(error)
            over.set()

    def writer(number: int) -> Callable[[Any], None]:
        def work(client: Any) -> None:
            rng = random.Random(f"{seed}/{number}")
            versions: dict[int, int] = defaultdict(int)
            while not over.is_set():
                first = rng.randrange(KEYS)
                together = range(first - first % GROUP, first - first % GROUP + GROUP)
                written: dict[str, tuple[int, str]] = {}
                for key in together if rng.random() < 1 / 3 else (first,):
                    versions[key] += 1
                    name = f"{number}/{key}"
                    written[name] = (versions[key], text(name, versions[key]))
                promise.write(client, written)
                note([[key, version] for key, (version, _) in written.items()])

        return work

    def disturber(client: Any) -> None:
        while not over.wait(seconds / 6):
            promise.disturb(client)

    with promise.connect(url) as client:
        promise.prepare(client)
    works = [*(writer(number) for number in range(WRITERS)), disturber]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def broken(promise: Promise, url: str, promised: Iterable[list[list[Any]]]) -> list[str]:
    """What the store at `url` does not hold of what it promised."""
    wanted: dict[str, int] = {}
    for noted in promised:
        for key, version in noted:
            wanted[key] = max(version, wanted.get(key, 0))
    if not wanted:  # the power failed while it started: it starts again, and has promised nothing
        return []
    with promise.connect(url) as client:
        found = promise.read(client)
    said = [
        f"{key} is {found.get(key, (0,))[0]} instead of {version}"
        for key, version in wanted.items()
        if found.get(key, (0, ""))[0] < version
    ]
    return said + [
        f"{key} has not its text of version {version}"
        for key, (version, value) in found.items()
        if key in wanted and value != text(key, version)
    ]


def _postgres_write(connection: psycopg.Connection, written: Mapping[str, tuple[int, str]]) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO promised VALUES (%s, %s, %s) ON CONFLICT (key) DO UPDATE"
            " SET version = excluded.version, text = excluded.text",
            [(key, *value) for key, value in written.items()],
        )


def _postgres_disturb(connection: psycopg.Connection) -> None:
    """A new table, an index made anew, a checkpoint: new files, and an end to what the log has to repeat."""
    connection.execute("CREATE TABLE IF NOT EXISTS other AS SELECT * FROM promised")
    connection.execute("REINDEX TABLE promised")
    connection.execute("CHECKPOINT")
    connection.execute("DROP TABLE other")


def _postgres_read(connection: psycopg.Connection) -> Found:
    """By the table and by its index, which have to agree."""
    connection.execute("SET enable_indexscan = off")
    rows = {key: (version, value) for key, version, value in connection.execute("SELECT * FROM promised")}
    connection.execute("SET enable_indexscan = on")
    connection.execute("SET enable_seqscan = off")
    for key, value in rows.items():
        assert connection.execute("SELECT version, text FROM promised WHERE key = %s", (key,)).fetchall() == [
            value
        ]
    return rows


def _mongodb_write(client: MongoClient[Any], written: Mapping[str, tuple[int, str]]) -> None:
    client.kept.promised.bulk_write(
        [
            UpdateOne({"_id": key}, {"$set": {"version": version, "text": value}}, upsert=True)
            for key, (version, value) in written.items()
        ],
        ordered=False,
    )


def _mongodb_disturb(client: MongoClient[Any]) -> None:
    client.kept.other.insert_many([{"text": "x" * 1000} for _ in range(50)])
    client.kept.other.create_index("text")
    client.admin.command("fsync")
    client.kept.drop_collection("other")


def _mongodb_read(client: MongoClient[Any]) -> Found:
    return {one["_id"]: (one["version"], one["text"]) for one in client.kept.promised.find()}


def _valkey_write(client: redis.Redis, written: Mapping[str, tuple[int, str]]) -> None:
    with client.pipeline(transaction=True) as pipeline:
        for key, (version, value) in written.items():
            pipeline.hset("promised", key, f"{version} {value}")
        pipeline.execute()


def _valkey_disturb(client: redis.Redis) -> None:
    try:
        client.bgrewriteaof()
    except redis.ResponseError:  # one is under way
        return


def _valkey_read(client: redis.Redis) -> Found:
    found: dict[bytes, bytes] = client.hgetall("promised")  # pyright: ignore[reportAssignmentType]
    parted = {key.decode(): value.decode().partition(" ") for key, value in found.items()}
    return {key: (int(version), value) for key, (version, _, value) in parted.items()}


def _nothing(_: Any) -> None:
    pass


def _make_table(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE promised (key text PRIMARY KEY, version int, text text)")


PROMISES: Mapping[str, Promise] = {
    "PostgreSQL": Promise(
        server=embedded_postgres, initialised_by_python=False, write=_postgres_write, prepare=_make_table, disturb=_postgres_disturb,
        read=_postgres_read, connect=lambda url: psycopg.connect(url, autocommit=True),
    ),
    "MongoDB": Promise(
        server=embedded_mongodb, write=_mongodb_write, prepare=_nothing, disturb=_mongodb_disturb, read=_mongodb_read,
        connect=MongoClient,
    ),
    "Valkey": Promise(
        server=embedded_valkey, write=_valkey_write, prepare=_nothing, disturb=_valkey_disturb, read=_valkey_read,
        connect=redis.Redis.from_url,
    ),
}  # fmt: skip
