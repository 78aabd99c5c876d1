"""A zone as a flow: what comes by other doors than HTTP, and what is sent again."""

from datetime import UTC, datetime

import pytest

from ingestion_assets.landing.flows import Body, Flow, RefusedError
from ingestion_assets.zones.document import ByValue, ZoneDocument
from ingestion_assets.zones.framing import frame
from ingestion_assets.zones.zone_flow import LINES, flow_of
from ingestion_assets_tests.zones.conftest import RECORD
from ingestion_assets_tests.zones.runs import Runs, counts
from ingestion_assets_tests.zones.test_zone_work import Event

STORES = ByValue(by="$.store", keys="stores")


def zone(partitions: ByValue | None = None) -> Flow:
    return flow_of(
        ZoneDocument(name="shop", asset="records", schema=RECORD, path="$[*]", partitions=partitions)
    )


@pytest.mark.parametrize("partitions", [None, STORES])
@pytest.mark.parametrize(
    ("name", "content"), [("x.json", b"[]"), ("x.csv", b"id,store\n"), ("x.csv", b"id\n")]
)
def test_a_file_or_message_without_records_is_refused(partitions, name, content):
    with pytest.raises(RefusedError, match="no record"):
        zone(partitions).read_inbox(name, content)


def test_no_payload_lands_without_the_partition_that_its_zone_has():
    with pytest.raises(RefusedError):
        zone(STORES).partition_of(datetime.now(UTC), None)
    assert zone(STORES).partition_of(datetime.now(UTC), "north") == "north"


@pytest.mark.parametrize("bad", [b"nonsense", b'{"store": "a", "x": %b1%b}' % (b"[" * 5000, b"]" * 5000)])
def test_a_bad_line_of_a_file_harms_no_other(bad):
    ((body, _),) = zone(STORES).read_inbox("x.jsonl", b'{"store": "a"}\n%b\n' % bad)
    assert (body.subject, body.records) == ("a", 2)
    with pytest.raises(RefusedError, match=r"record 0 is no JSON object|nested too deeply"):
        zone(STORES).read_inbox("x.json", b"[%b]" % bad if bad[:1] == b"{" else b"[7]")


PRETTY = b"""[
  {
    "id": "1",
    "note": "\\ud83d",
    "n": [
      1
    ]
  },
  {\r
    "id": "2",\r
    "n": %b\r
  },
  {
    "n": 1.0
  }
]""" % (b"[\n" * 400 + b"]\n" * 400)


def test_what_is_sent_again_are_the_records_that_were_sent(runs: Runs):
    """However they were printed, and whatever is wrong with them."""
    runs.land(PRETTY)
    (told,) = runs.run(lambda _batch: (), Event).values()
    rejected = [one.record for one in told.rejects]
    assert [one.code for one in told.rejects] == ["not_json", "wrong_type", "wrong_type"]
    assert rejected == frame(PRETTY, media_type="application/json")
    body = _composed([*rejected, b"nonsense"])
    assert body.records == 4
    again = frame(body.data, media_type=LINES)
    assert [b"".join(one.split()) for one in again] == [
        b"".join(one.split()) for one in [*rejected, b"nonsense"]
    ]
    runs.land(body.data, media_type="application/json", redrive_of="1")
    (told,) = runs.run(lambda _batch: (), Event).values()
    assert counts(told) == {"received": 4, "rejected": 4}
    assert [one.code for one in told.rejects] == ["not_json", "wrong_type", "wrong_type", "not_json"]


def _composed(records: list[bytes]) -> Body:
    compose = zone().compose
    assert compose is not None
    return compose(records, {})


def test_a_record_that_is_too_deep_to_read_is_sent_again_as_it_is():
    deep = b'{"x": ' + b"[\n" * 5000 + b"]\n" * 5000 + b"}"
    again = frame(_composed([b'{"id": "1"}', deep]).data, media_type=LINES)
    assert again == [b'{"id": "1"}', deep.replace(b"\n", b" ")]
