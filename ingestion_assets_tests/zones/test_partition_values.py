"""Partitions by a value of the records: only that is read, and what cannot be read names none."""

import pytest

from ingestion_assets.zones.document import ByValue
from ingestion_assets.zones.partition_values import MixedValuesError, partition_value

BY = ByValue(by="$.store", keys="stores")
DEEP = b'{"store": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (b'{"store": "a", "n": 1e999}', "a"),
        (b'{"store": "a", "note": "\\ud83d"}', "a"),
        (b'{"store": "a", "note": "\xff"}', "a"),
        (b'{"store": "b", "store": "a"}', "a"),
        (b' {"store": 18446744073709551616}', "18446744073709551616"),
        (b'{"store": -0}', "0"),
    ],
)
def test_only_the_value_is_read(record, value):
    assert partition_value(BY, [record]) == value


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (DEEP, "record 1 is nested too deeply"),
        (b"nonsense", "record 1 is no JSON"),
        (b'["a", "row", "too long"]', "record 1 is no JSON object"),
        (b'{"store": "\\ud83d"}', "record 1 has half a surrogate pair there"),
        (b'{"store": "\xff"}', "record 1 has what is no text there"),
    ],
)
def test_what_cannot_be_read_harms_no_other_record_and_alone_names_its_cause(record, cause):
    assert partition_value(BY, [b'{"store": "a"}', record, b'{"store": "a"}']) == "a"
    with pytest.raises(MixedValuesError, match=cause):
        partition_value(BY, [b"7", record])


@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b'{"store": null}',
        b'{"store": " "}',
        b'{"store": 1.5}',
        b'{"store": %b}' % (b"1" * 5000),
    ],
)
def test_an_object_without_the_value_refuses_the_payload(record):
    with pytest.raises(MixedValuesError, match=r"record 1 has no text .* at \$\.store"):
        partition_value(BY, [b'{"store": "a"}', record])


def test_a_value_within_objects():
    by = ByValue(by="$.order.store", keys="stores")
    assert partition_value(by, [b'{"order": {"n": 1, "store": "a"}, "store": "b"}']) == "a"
    for none in (b'{"order": "a"}', b'{"order": null}', b'{"store": "a"}'):
        with pytest.raises(MixedValuesError, match=r"at \$\.order\.store"):
            partition_value(by, [none])


def test_no_records_have_no_value():
    with pytest.raises(MixedValuesError, match="there is none"):
        partition_value(BY, [])
