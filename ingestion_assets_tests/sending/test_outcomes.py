"""What a finished receipt tells of the records sent: totals, and every record that somebody should hear of."""

from typing import Any

import pytest

from ingestion_assets.conversations.sending.outcomes import settle
from ingestion_assets.conversations.sending.transcript_memory import OpenReceipt
from ingestion_assets.sending.delivery import ReceiptState

PLACES = [("a", 1, 0), ("a", 2, 9), ("b", 1, 0)]
CONFLICT = {"status": "duplicate", "code": "conflict", "reason": "another came first"}
REJECTED = {"status": "rejected", "code": "missing_type", "reason": "no type"}


def settled(
    result: dict[str, Any] | None, *outcomes: dict[str, Any], state: str = "done", replayed: bool = False
) -> tuple[dict[str, int], list[tuple[str, int, str]]]:
    receipt = OpenReceipt(id="r", places=PLACES, replayed=replayed)
    totals, problems = settle(
        receipt, ReceiptState(state=state, result=result), record_outcomes=lambda: list(outcomes)
    )
    return totals, [(one.path, one.line, one.code) for one in problems]


def result(stored: int, skipped: int, failed: int, **more: Any) -> dict[str, Any]:
    stats = {"messages_processed": stored, "messages_skipped": skipped, "messages_failed": failed}
    return {"stats": stats | more.pop("stats", {}), **more}


def test_conflicts_are_no_duplicates() -> None:
    warnings = [
        {"index": 2, "code": "conflict", "reason": "another came first"},
        {"index": 0, "code": "unknown_type"},
    ]
    expected = [("b", 1, "conflict")]
    for outcomes in ([{"status": "stored"}, {"status": "duplicate"}, CONFLICT], []):
        totals, told = settled(result(1, 2, 0, warnings=warnings), *outcomes)
        assert told == expected
        assert (totals["stored"], totals["duplicate"], totals["conflicts"], totals["rejected"]) == (
            1,
            1,
            1,
            0,
        )
    totals, told = settled(result(1, 2, 0, warnings=warnings), {}, {}, CONFLICT, replayed=True)
    assert (totals["stored"], totals["duplicate"], totals["conflicts"], told) == (0, 2, 1, expected)


def test_rejected_records_are_named_or_at_least_counted() -> None:
    errors = [{"index": 1, "code": "missing_type", "reason": "no type"}]
    assert settled(result(1, 0, 2, errors=errors), {}, REJECTED, REJECTED)[1] == [
        ("a", 2, "missing_type"),
        ("b", 1, "missing_type"),
    ]
    totals, told = settled(result(1, 0, 2, errors=errors))
    assert (totals["rejected"], told) == (2, [("a", 2, "missing_type"), ("a", 1, "rejected")])


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ({"stats": {"todos_superseded": 2, "config_superseded": True}}, 3),
        ({"warnings": [{"code": "superseded", "superseded_by": "r2"}]}, 1),
        ({}, 0),
    ],
)
def test_superseded_parts_are_counted_and_fail_nothing(more: dict[str, Any], count: int) -> None:
    totals, told = settled(result(3, 0, 0, **more))
    assert (totals["superseded"], totals["stored"], told) == (count, 3, [])


def test_rejected_parts_are_named() -> None:
    lists = [{"part": "todos[1]", "code": "too_deep", "reason": "deep"}]
    totals, told = settled(result(0, 0, 0, stats={"todos_processed": 2, "todos_failed": 1}, errors=lists))
    assert (totals["rejected"], totals["parts_rejected"], told) == (0, 1, [("a", 2, "too_deep")])
    config = [{"part": "config", "code": "too_large", "reason": "large"}]
    totals, told = settled(result(0, 0, 0, stats={"config_failed": True}, errors=config))
    assert (totals["rejected"], totals["parts_rejected"], told) == (0, 1, [("a", 1, "too_large")])


def test_what_the_server_knows_nothing_of_is_told() -> None:
    assert settled(None, state="unknown") == ({"unknown": 3}, [("a", 1, "outcome_unknown")])
    totals, told = settled(None, state="failed")
    assert (totals["rejected"], len(told)) == (3, 3)
