"""Entities through a whole running stack: TPC-H by stream, planted errors, broken connections, redriving."""

import contextlib
import gzip
import http.client
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import psycopg
import pytest
import uuid_utils
import zstandard

from ingestion_assets.entities.entity_tables import column_type
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.tpch import (
    ORDER,
    PLANTED,
    as_duckdb_reads,
    generate,
    messages,
    shuffled_entities,
    with_planted,
)
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("tpch"))


@pytest.fixture(scope="module")
def few_tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenth: for tests of the way, not of the amount."""
    return generate(tmp_path_factory.mktemp("few_tpch"), scale="0.001")


@pytest.fixture
def client(stack: RunningStack) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": stack.admin_token} | TEXT
    with httpx.Client(base_url=stack.url, headers=headers, timeout=600) as client:
        yield client


@pytest.fixture
def database(stack: RunningStack) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture(autouse=True)
def empty(database: "psycopg.Connection[Any]") -> None:
    """No rows of earlier tests."""
    if database.execute("SELECT to_regclass('entities.orders')").fetchone() != (None,):
        database.execute(
            "TRUNCATE entities.order_line_items, entities.orders, entities.products, entities.customers"
        )


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def assert_tables_equal_files(database: "psycopg.Connection[Any]", folder: Path) -> None:
    for entity in TPCH.entities:
        types = {field.name: column_type(field) for field in entity.fields}
        stored = database.execute(f"SELECT {', '.join(types)} FROM entities.{entity.table}").fetchall()  # type: ignore[arg-type]
        assert sorted(stored) == sorted(as_duckdb_reads(folder, entity.entity, types)), entity.entity


def test_tpch_by_stream_in_any_order_equals_the_files(
    client: httpx.Client, database: "psycopg.Connection[Any]", tpch: Path
) -> None:
    body = shuffled_entities(tpch, seed=4)
    answer = client.post(
        "/ingest/stream", content=(body[at : at + 50_000] for at in range(0, len(body), 50_000))
    )
    *_, last = events(answer)
    assert last["type"] == "total", last
    assert last["total"] == last["inserted"] + last["waiting"] - last["resolved"] + last["failed"]
    assert (last["total"], last["failed"]) == (body.count(b"\n"), 0)
    assert_tables_equal_files(database, tpch)
    again = events(client.post("/ingest/stream", content=body))[-1]
    assert (again["inserted"], again["updated"], again["failed"]) == (0, 0, 0)


def test_planted_errors_are_exactly_what_is_refused(
    client: httpx.Client, database: "psycopg.Connection[Any]", tpch: Path
) -> None:
    good = messages(tpch, "Customer") + messages(tpch, "Product") + messages(tpch, "Order")
    lines = with_planted(good, [line for *_, line in PLANTED], seed=8)
    wanted, offset = {}, 0
    kinds = {(code, entity, field): None for code, entity, field, _ in PLANTED}
    originals = set(good)
    for number, line in enumerate(lines, 1):
        if line not in originals:
            wanted[number] = (offset, line.rstrip(b"\n").decode(errors="replace").replace("\0", "\ufffd"))
        offset += len(line)
    answer = client.post("/ingest/batch", content=b"".join(lines))
    result = answer.json()
    assert answer.status_code == 207, result
    assert {
        error["line_number"]: (error["byte_offset"], error["line"]) for error in result["errors"]
    } == wanted
    assert {(error["code"], error["entity"], error["field"]) for error in result["errors"]} == set(kinds)
    assert (result["inserted"], result["failed"]) == (len(good), len(wanted))
    receipt = answer.headers["x-receipt-id"]

    assert (
        client.post(
            "/ingest/message", content=messages(tpch, "Customer")[0].replace(b"C|1|", b"C|9999999|")
        ).status_code
        == 200
    )
    inserted = 0
    while items := client.post("/api/v1/rejects/redrive", params={"receipt": receipt}).json()["items"]:
        for tried in {item["receipt"] for item in items}:
            again = client.get(f"/api/v1/receipts/{tried}", headers={"Prefer": "wait=60"}).json()
            inserted += again["result"]["inserted"]
    repaired = sum(error["code"] == "missing_reference" for error in result["errors"])
    assert inserted == repaired
    stored = database.execute("SELECT count(*) FROM entities.orders WHERE customer_key = 9999999").fetchone()
    assert stored == (repaired,)


def test_stream_goes_on_after_a_broken_connection(
    stack: RunningStack, client: httpx.Client, database: "psycopg.Connection[Any]", tpch: Path
) -> None:
    body = b"".join(
        messages(tpch, "OrderLineItem")[:500]
        + messages(tpch, "Order")
        + messages(tpch, "Product")
        + messages(tpch, "Customer")
    )
    name = str(uuid_utils.uuid7())
    broken = http.client.HTTPConnection(urlsplit(stack.url).netloc)
    broken.putrequest("POST", f"/ingest/stream?stream={name}")
    for header, value in (TEXT | {"X-API-Key": stack.admin_token, "Transfer-Encoding": "chunked"}).items():
        broken.putheader(header, value)
    broken.endheaders()
    sent = body[: len(body) // 3]
    broken.send(b"%x\r\n" % len(sent) + sent + b"\r\n")
    address = f"/ingest/stream/{name}"
    wait_until(lambda: client.get(address).status_code == 200, seconds=60, what="a part to be acknowledged")
    wait_until(
        lambda: client.get(address).json()["bytes"] > len(sent) - 1000,
        seconds=60,
        what="all lines to be acknowledged",
    )
    broken.close()
    position = client.get(address).json()
    assert 0 < position["bytes"] <= len(sent)
    assert body[: position["bytes"]].count(b"\n") == position["lines"]
    wrong = client.post(
        "/ingest/stream", params={"stream": name, "offset": position["bytes"] + 1}, content=b""
    )
    assert wrong.status_code == 409
    assert wrong.json()["acknowledged"]["bytes"] == position["bytes"]
    rest = client.post(
        "/ingest/stream",
        params={"stream": name, "offset": position["bytes"]},
        content=body[position["bytes"] :],
    )
    assert events(rest)[-1]["type"] == "total", rest.text
    totals = client.get(address).json()
    assert (totals["ended"], totals["unfinished"], totals["totals"]["failed"]) == (True, 0, 0)
    assert totals["lines"] == totals["totals"]["processed"] == body.count(b"\n")
    assert database.execute("SELECT count(*) FROM entities.order_line_items").fetchone() == (500,)


def test_receipts_of_a_stream_say_what_became_of_lines_that_waited(client: httpx.Client) -> None:
    name = str(uuid_utils.uuid7())
    orders = ORDER % (1, 1) + ORDER % (2, 2)
    last = events(client.post("/ingest/stream", params={"stream": name, "more": "true"}, content=orders))[-2]
    assert (last["status"], last["waiting"]) == ("success", 2)
    address = f"/api/v1/receipts/{last['receipt']}/records"
    assert [one["code"] for one in client.get(address).json()["items"]] == ["waits_for_reference"] * 2
    rest = client.post("/ingest/stream", params={"stream": name}, content="C|1|n|a|3|p|-7.10|BUILDING|c")
    assert events(rest)[-1]["type"] == "total", rest.text
    first, second = client.get(address).json()["items"]
    assert (first["status"], first["id"]) == ("stored", "Order/1")
    assert (second["status"], second["code"], second["id"]) == ("rejected", "missing_reference", "Order/2")


def test_message_says_what_was_stored_or_why_not(client: httpx.Client) -> None:
    stored = client.post("/ingest/message", content="C|1|n|a|3|p|-7.10|BUILDING|  c ")
    assert stored.status_code == 200
    assert {**stored.json(), "timestamp": None} == {
        "status": "success",
        "entity": "Customer",
        "id": 1,
        "timestamp": None,
    }
    refused = client.post("/api/v1/entities/ingest/message", content="O|1|2|O|1.0|1996-01-02|5-LOW|Clerk|0|n")
    assert (refused.status_code, refused.json()["status"], refused.json()["entity"]) == (
        400,
        "error",
        "Order",
    )
    assert refused.json()["message"] == "Foreign key violation: customer_key=2 not found in Customer"


def test_atomic_batch_is_refused_whole_and_redriven_after_repair(client: httpx.Client) -> None:
    body = "C|1|n|a|3|p|-7.10|BUILDING|  c \nO|1|2|O|1.0|1996-01-02|5-LOW|Clerk|0|n\n"
    answer = client.post("/ingest/batch", params={"atomic": "true"}, content=body)
    assert (answer.status_code, answer.json()["inserted"], answer.json()["failed"]) == (400, 0, 2)
    assert client.post("/ingest/message", content="C|2|n|a|3|p|-7.10|BUILDING|  c ").status_code == 200
    receipt = answer.headers["x-receipt-id"]
    client.post("/api/v1/rejects/redrive", params={"receipt": receipt})
    again = client.get(f"/api/v1/receipts/{receipt}", headers={"Prefer": "wait=60"}).json()
    assert (again["state"], again["result"]["status"], again["result"]["inserted"]) == ("done", "success", 2)


def send(stack: RunningStack, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`ingestion send entities …` against the stack."""
    command = (sys.executable, "-m", "ingestion_assets.cli", "send", "entities", "--json", *arguments)
    return subprocess.Popen(command, env=stack.environment, stdout=subprocess.PIPE, text=True, **options)


def totals_of(process: subprocess.Popen[str], *, status: int = 0) -> dict[str, Any]:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == status, said
    return msgspec.json.decode(said)


def test_files_are_sent_compressed_or_not_and_standard_input_too(
    stack: RunningStack, database: "psycopg.Connection[Any]", few_tpch: Path, tmp_path: Path
) -> None:
    lines = b"".join(messages(few_tpch, "OrderLineItem")), b"".join(messages(few_tpch, "Order"))
    (tmp_path / "lines.gz").write_bytes(gzip.compress(lines[0]))
    (tmp_path / "orders.zst").write_bytes(zstandard.compress(lines[1]))
    for name, entity in (("customer", "Customer"), ("part", "P")):
        totals = totals_of(send(stack, "--entity", entity, str(few_tpch / f"{name}.tbl")))
        assert totals["inserted"] == totals["lines"]
    totals = totals_of(send(stack, str(tmp_path / "lines.gz"), str(tmp_path / "orders.zst")))
    assert (totals["failed"], totals["lines"]) == (0, sum(body.count(b"\n") for body in lines))
    assert_tables_equal_files(database, few_tpch)
    piped = send(stack, "-", stdin=subprocess.PIPE)
    said, _ = piped.communicate("C|1|n|a|3|p|-7.10|BUILDING|  c \n# comment\nC|x", timeout=120)
    assert piped.returncode == 1
    assert (msgspec.json.decode(said)["updated"], msgspec.json.decode(said)["failed"]) == (1, 1)


def _streams_begun(stack: RunningStack) -> dict[str, str]:
    state = stack.home / "sending" / "state.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as kept:
            return dict(kept.execute("select files, name from streams"))
    except sqlite3.OperationalError:  # not made yet
        return {}


def test_sending_goes_on_after_it_was_killed(
    stack: RunningStack, database: "psycopg.Connection[Any]", tpch: Path, tmp_path: Path
) -> None:
    body = b"".join(messages(tpch, "Customer") * 40)
    (tmp_path / "customers").write_bytes(body)
    first = send(stack, str(tmp_path / "customers"))
    rows = "SELECT count(*) FROM ingestion.drops WHERE attributes->>'stream' = %s"
    wait_until(lambda: _streams_begun(stack), seconds=60, what="the stream to begin")
    (stream,) = _streams_begun(stack).values()
    wait_until(
        lambda: database.execute(rows, (stream,)).fetchone() != (0,), seconds=60, what="a part to land"
    )
    first.kill()
    first.wait()
    totals = totals_of(send(stack, str(tmp_path / "customers")))
    assert totals["stream"] == stream
    assert totals["processed"] == totals["lines"] == body.count(b"\n")
    assert database.execute("SELECT count(*) FROM entities.customers").fetchone() == (
        len(messages(tpch, "Customer")),
    )
