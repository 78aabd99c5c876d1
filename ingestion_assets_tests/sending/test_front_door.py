"""The real front door: what it lands from real transcripts is what is valid in the files, once."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.segments import unpack
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.tables import drops
from ingestion_assets.sending.cli import app
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, Front, serving, settings_for
from ingestion_assets_tests.frontdoor.instant_runs import failed, first_rejected, stored


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with serving(settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)) as running:
        yield running


@pytest.fixture
def send_to(front: Front, tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    front.runs.outcome = stored

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        fixed = [
            "--url",
            front.url,
            "--key",
            ADMIN_TOKEN,
            "--state",
            str(tmp_path / "state.sqlite"),
            "--json",
        ]
        result = CliRunner().invoke(app, ["claude", *map(str, arguments), *fixed])
        return result.exit_code, json.loads(result.stdout)

    return run


def landed(front: Front) -> list[dict[str, Any]]:
    """Every landed body, read from landing storage as the ledger points to it."""
    storage = open_storage(front.settings)
    with front.engine.connect() as connection:
        rows = connection.execute(sa.select(drops).order_by(drops.c.id)).mappings().all()
    packed = [(storage.read(row["segment"], offset=row["offset"], length=row["length"]), row) for row in rows]
    return [
        json.loads(unpack(content, digest=row["body_sha256"], size=row["size_bytes"]))
        for content, row in packed
    ]


def plainly_read(file: Path) -> list[dict[str, Any]]:
    """The objects of a file by another path than the sender's: whole lines, else cut where two objects meet."""
    objects = []
    for line in file.read_text(encoding="utf-8").split("\n"):
        try:
            values = [json.loads(line)]
        except ValueError:
            values = [json.loads(text) for text in line.replace('}{"', '}\0{"').split("\0") if text]
        objects += [value for value in values if isinstance(value, dict)]
    return objects


def canonical(messages: list[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(message, sort_keys=True) for message in messages)


def test_real_transcripts_land_whole_and_once(front, send_to, shared_data) -> None:
    folder = shared_data / "conversations"
    files = [
        file
        for name in ("sessions", "odd", "viewer", "growth/4", "small")
        for file in (folder / name).rglob("*.jsonl")
    ]
    status, summary = send_to(*files, folder / "todos")
    assert (status, summary["problems"]) == (0, [])
    bodies = landed(front)
    arrived = [message for body in bodies for message in body.get("messages", [])]
    assert canonical(arrived) == canonical([message for file in files for message in plainly_read(file)])
    assert summary["stored"] == len(arrived)
    todos = {todo["filename"]: todo["todos"] for body in bodies for todo in body.get("todos", [])}
    assert todos == {file.name: json.loads(file.read_text()) for file in (folder / "todos").glob("*.json")}
    assert send_to(*files, folder / "todos")[1]["requests"] == 0
    again = send_to(*files, folder / "todos", "--reset")[1]
    assert (again["stored"], again["duplicate"]) == (0, summary["stored"])
    assert len(landed(front)) == len(bodies)


def test_rejected_lines_are_named_with_the_code_of_the_front_door(front, send_to, tmp_path) -> None:
    def rejecting(drop: Any) -> Any:
        outcome = first_rejected(drop)
        outcome.result["stats"] |= {"messages_processed": drop.records - 1, "messages_failed": 1}
        return outcome

    front.runs.outcome = rejecting
    (tmp_path / "r.jsonl").write_text('\n{"uuid":"r1"}\n{"type":"user","uuid":"r2"}\n')
    status, summary = send_to(tmp_path / "r.jsonl")
    assert status == 1
    assert [(p["line"], p["offset"], p["code"]) for p in summary["problems"]] == [(2, 1, "no_type")]
    assert (summary["stored"], summary["rejected"]) == (1, 1)


def test_conflicts_are_named_with_the_words_of_the_front_door(front, send_to, tmp_path) -> None:
    def in_conflict(drop: Any) -> Any:
        outcome = stored(drop)
        outcome.result["stats"] |= {"messages_processed": 1, "messages_skipped": 2}
        outcome.result["warnings"] = [{"index": 2, "uuid": "c", "code": "conflict", "reason": "first stays"}]
        records = [
            RecordOutcome("stored", "a"),
            RecordOutcome("duplicate", "b", "b"),
            RecordOutcome("duplicate", "c", "c", "conflict", "first stays"),
        ]
        return DropOutcome(drop.id, outcome.result, records)

    front.runs.outcome = in_conflict
    (tmp_path / "c.jsonl").write_text("".join(f'{{"type":"user","uuid":"{name}"}}\n' for name in "abc"))
    status, summary = send_to(tmp_path / "c.jsonl")
    told = [(p["line"], p["code"], p["reason"]) for p in summary["problems"]]
    assert (status, told) == (1, [(3, "conflict", "first stays")])
    assert (summary["stored"], summary["duplicate"], summary["conflicts"]) == (1, 1, 1)


def test_a_payload_that_failed_for_good_is_reported(front, send_to, tmp_path) -> None:
    front.runs.outcome = failed
    (tmp_path / "f.jsonl").write_text('{"type":"user","uuid":"f1"}\n')
    status, summary = send_to(tmp_path / "f.jsonl")
    assert (status, summary["problems"][0]["code"]) == (1, "request_failed")
    assert "ZeroDivisionError" in summary["problems"][0]["reason"]


def test_odd_but_valid_lines_are_taken(send_to, corruption) -> None:
    names = ("lone-high-surrogate", "escaped-nul-u0000", "bigint-and-float", "invalid-utf8")
    status, summary = send_to(*(corruption / f"{name}.jsonl" for name in names))
    assert (status, summary["stored"]) == (0, 7)
