"""What the YAML of a zone may say, and how what it cannot is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingestion_assets.zones import DropZone, ZoneError
from ingestion_assets.zones.wording import Verify, duration_of
from ingestion_assets_tests.zones.conftest import RECORD

GIVEN: dict[str, Any] = {
    "name": "orders", "records": {"schema": "record.json"}, "key": "id", "table": {"postgres": "shop.orders"},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "record.json").write_text(json.dumps(RECORD), encoding="utf-8")
    return tmp_path


def test_a_zone_is_what_its_yaml_says(folder: Path) -> None:
    zone = DropZone(**GIVEN, checks={"fresh_within": "15m", "reject_rate": 0.1}, owners=["team:shop"]).zone(
        folder
    )
    assert (zone.name, zone.asset, zone.kind, zone.key) == ("orders", "orders", "postgres", ("id",))
    assert (zone.fresh_within_s, zone.reject_rate) == (900, 0.1)
    assert zone.document().schema["required"] == ["id"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "Shop!"}, "lower-case letters"),
        ({"name": "landing"}, "another name"),
        ({"key": "nope"}, "no field of its records; these are id"),
        ({"version": "at"}, "no field"),
        ({"key": [], "version": "id"}, "a version but no key"),
        ({"records": {"schema": "record.json", "model": "a.b"}}, "either `model"),
        ({"records": {"model": "nowhere.at.All"}}, "cannot be imported"),
        ({"table": {"oracle": "x"}}, "postgres"),
        ({"table": {"postgres": "shop."}}, "names no table"),
        ({"table": {"mongodb": ""}}, "names no table"),
        ({"table": {"parquet": "/srv/orders"}}, "file:///srv/orders"),
        ({"table": {"parquet": "s3://"}}, "s3://bucket/folder"),
        ({"table": {"parquet": "file://srv/orders"}}, "file:///srv/orders"),
        ({"table": {"duckdb": "shop.duckdb"}}, "a table in it"),
        ({"table": {"duckdb": "shop.duckdb/"}}, "names no table"),
        ({"table": {"mongodb": "a$b"}}, "`table: {mongodb: …}` ends in 'a$b'"),
        ({"table": {"parquet": "s3://bucket/orders-2026"}}, "ends in 'orders-2026'"),
        ({"checks": {"fresh": 1}}, "reject_rate and fresh_within"),
        ({"checks": {"fresh_within": "soon"}}, "15m"),
        ({"checks": {"reject_rate": 3}}, "share from 0 to 1"),
        (
            {"checks": {"reject_rate": "2%"}},
            "reject_rate of the zone orders is a share from 0 to 1, such as 0.02, not '2%'",
        ),
        ({"checks": {"reject_rate": [0.02]}}, "reject_rate of the zone orders"),
        ({"checks": {"fresh_within": ["15m"]}}, "15m"),
        (
            {"verify": {"kind": ["stripe"], "secret": {"env": "X"}}},
            "the zone orders: `verify` needs a `kind`",
        ),
        ({"partitions": "hour"}, "`partitions` is"),
        ({"partitions": {"by": "store", "keys": "stores"}}, "names no field"),
        ({"verify": {"kind": "stripe"}}, "secret: {env: NAME}"),
        ({"verify": {"kind": "pigeon", "secret": {"env": "X"}}}, "one of github"),
        ({"sources": [{"nats": {}}]}, "one of redis"),
        (
            {"sources": [{"redis": {"stream": "s"}}, {"redis": {"stream": "s", "field": "more"}}]},
            "two sources read redis stream s as the group ingestion-orders: give each a `group` of its own",
        ),
        (
            {"sources": [{"sqs": {"queue_url": "https://sqs/1/s", "bucket": one}} for one in "ab"]},
            "two sources read sqs s",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(folder: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ZoneError) as raised:
        DropZone(**{**GIVEN, **changed}).zone(folder)
    assert said in str(raised.value)


def test_a_secret_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    verify = Verify.read({"kind": "github", "secret": [{"env": "SHOP_NEW"}, {"env": "SHOP_OLD"}]})
    monkeypatch.setenv("SHOP_NEW", "n")
    with pytest.raises(ZoneError, match="SHOP_OLD is not set"):
        verify.secrets()
    monkeypatch.setenv("SHOP_OLD", "o")
    assert verify.secrets() == ["n", "o"]


def test_times_are_written_with_their_unit() -> None:
    assert [duration_of(one) for one in ("30s", "15m", "2h", "1d", 5)] == [30, 900, 7200, 86400, 5]
    for wrong in ("15 minutes", "-1s", "", "0s", 0, True):
        with pytest.raises(ZoneError, match="is no duration"):
            duration_of(wrong)
