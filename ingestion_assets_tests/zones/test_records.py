"""Records, read by what a user says that they are."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
import pydantic
import pytest

from ingestion_assets.zones.record_types import Column, RecordType, RecordTypeError, record_type
from ingestion_assets_tests.zones.shop import ORDER_SCHEMA, Order, OrderStruct, order_schema_in

GOOD = {
    "id": "a",
    "number": 9007199254740993,
    "total": 19.99,
    "weight": 1.5,
    "paid": True,
    "at": "2026-01-31T12:00:00+02:00",
    "day": "2026-01-31",
    "token": "6f1a1a0e-4f0d-4c9f-9a51-3a2b0f6f7d11",
    "channel": "shop",
    "kind": "return",
    "lines": [{"sku": "x", "price": "1.10"}],
    "extra": {"deep": [1, None]},
}
KINDS = [
    "text",
    "integer",
    "decimal",
    "number",
    "boolean",
    "timestamp",
    "date",
    "uuid",
    "text",
    "text",
    "json",
    "json",
]


@pytest.fixture(params=["pydantic", "msgspec", "schema"])
def orders(request, tmp_path) -> RecordType:
    if request.param == "schema":
        return record_type(order_schema_in(tmp_path), folder=tmp_path)
    return record_type({"pydantic": Order, "msgspec": OrderStruct}[request.param])


def encoded(**changes: object) -> bytes:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not ...}).encode()


def test_columns(orders):
    schema = orders.schema == ORDER_SCHEMA
    kinds = [("decimal" if schema and kind == "number" else kind) for kind in KINDS]
    assert [column.kind for column in orders.columns] == kinds
    assert [column.name for column in orders.columns] == list(GOOD)
    nullable = {column.name for column in orders.columns if column.nullable}
    optional = {"at", "day", "token", "lines", "extra"}
    assert nullable == (optional | {"weight", "paid", "channel", "kind"} if schema else optional)
    assert json.loads(json.dumps(orders.schema)) == orders.schema


def test_values(orders):
    read = orders.read([encoded(), encoded(at=None, token=..., lines=None, extra=...)])
    assert not read.refused
    assert not read.unknown
    first, second = read.values
    assert first[:-2] == (
        "a", 9007199254740993, Decimal("19.99"), 1.5, True, datetime(2026, 1, 31, 10, tzinfo=UTC), date(2026, 1, 31),
        UUID(GOOD["token"]), "shop", "return",
    )  # fmt: skip
    assert [type(value) for value in first[:3]] == [str, int, Decimal]
    assert [json.loads(value) for value in first[-2:]] == [GOOD["lines"], GOOD["extra"]]
    assert [second[5], second[7], second[10], second[11]] == [None] * 4
    assert len(read.instances) == 2


def test_numbers_are_exact(orders):
    number, total = 123456789012345678901234567890, "0.1000000000000000000000000001"
    record = encoded(number=number).replace(b"19.99", total.encode())
    (values,) = orders.read([record, b"{}"]).values
    assert values[1:3] == (number, Decimal(total))


@pytest.mark.parametrize(
    ("record", "code", "field"),
    [
        (encoded(number=...), "missing_field", "number"),
        (encoded(number="many"), "wrong_type", "number"),
        (encoded(number=13), "invalid_value", None),
        (encoded(at="yesterday, secret"), None, "at"),
        (encoded(kind="secret"), "invalid_value", "kind"),
        (encoded(lines=[{"sku": "x", "price": "1"}, {"sku": 1, "price": "1"}]), "wrong_type", None),
        (b"[1]", "wrong_type", ""),
        (b'"secret"', "wrong_type", ""),
        (b"{secret", "not_json", ""),
        (b"}, {", "not_json", ""),
        (b'{"id": "\\ud800 secret"}', "not_json", ""),
        (b'{"id": "secret \xff", "number": 1, "total": 1}', "not_json", ""),
        (
            b'{"id": "a", "number": 1, "total": 1, "extra": ' + b"[" * 5000 + b"]" * 5000 + b"}",
            "not_json",
            "",
        ),
    ],
)
def test_a_bad_record_is_refused_and_harms_no_other(orders, record, code, field):
    read = orders.read([encoded(id="first"), record, encoded(id="last")])
    assert list(read.positions) == [0, 2]
    assert [values[0] for values in read.values] == ["first", "last"]
    refusal = read.refused[1]
    if code is not None:
        assert refusal.code == code
    if field is not None:
        assert refusal.field == field
    assert refusal.reason
    assert "secret" not in refusal.reason
    assert "thirteen" not in refusal.reason


def test_broken_lines_that_make_sense_together_are_refused_apart(orders):
    record = encoded()
    lines = [record[:20], record[20:], record + b"," + record]
    assert list(orders.read([*lines, record]).positions) == [3]


def test_of_two_members_of_one_name_the_last_counts(orders):
    (values,) = orders.read([b'{"id": "first", "number": 1, "total": 1, "id": "last"}']).values
    assert values[0] == "last"


def test_unknown_fields_are_told(orders):
    for _ in range(2):
        assert orders.read([encoded(), encoded(color="red", size=1)]).unknown == {"color", "size"}
    orders.told({"color", "size"})
    assert orders.read([encoded(color="red", shape=1)]).unknown == {"shape"}, (
        "what was told already is not told again"
    )
    assert orders.read([encoded()]).unknown == set()


@pytest.mark.parametrize("name", ['a"b', "line\nbreak", "C:\\x", "a\0b", "", "é"])
def test_a_field_of_any_name_is_told_and_harms_no_later_record(orders, name):
    read = orders.read([encoded(), encoded(**{name: 1})])
    assert (read.unknown, dict(read.refused)) == ({name}, {})
    orders.told(read.unknown)
    assert orders.read([encoded(**{name: 1, "more": 1})]).unknown == {"more"}


def test_an_unknown_field_that_is_no_text_harms_no_record(orders):
    for _ in range(2):
        read = orders.read([encoded(note="x").replace(b'"x"', b'"\xff"'), encoded(note="\ud83d")])
        assert len(read.values) + len(read.refused) == 2
        orders.told({"note"})
    assert len(orders.read([encoded(note=1)]).values) == 1


def test_texts_of_csv_are_read_leniently(orders):
    row = {
        "id": "7",
        "number": "12",
        "total": "1.50",
        "weight": "2e3",
        "paid": "true",
        "at": "2026-01-31T12:00:00Z",
    }
    record = json.dumps(row).encode()
    read = orders.read([record, b'["a", "b"]', json.dumps({**row, "number": "12x"}).encode()], texts=True)
    assert read.values[0][:6] == (
        "7",
        12,
        Decimal("1.50"),
        2000.0,
        True,
        datetime(2026, 1, 31, 12, tzinfo=UTC),
    )
    assert {position: refusal.code for position, refusal in read.refused.items()} == {
        1: "wrong_fields",
        2: "wrong_type",
    }


def test_names_of_fields_in_records():
    class Aliased(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(populate_by_name=True, extra="forbid")
        order_id: Annotated[int, pydantic.Field(alias="orderId")]

    class Renamed(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
        order_id: int

    for one in (record_type(Aliased), record_type(Renamed)):
        assert one.columns == (Column("order_id", "integer", nullable=False),)
        read = one.read([b'{"orderId": 1}', b'{"orderId": 2, "else": 3}'])
        assert read.values == [(1,)]
        assert (read.refused[1].code, read.refused[1].field) == ("unknown_field", "else")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/x.json"}}}, "refers to https"),
        ({"type": "object", "properties": {"a": {"$ref": "other.json#/a"}}}, "refers to other.json"),
        ({"type": "array"}, "type: object"),
        ({"type": "object", "properties": {"a": {"type": "nonsense"}}}, "no JSON Schema"),
        ({"type": "object", "properties": {'a"b': {"type": "string"}}}, "no column can be called"),
        ([], "is no object"),
    ],
)
def test_schemas_that_cannot_be_used(tmp_path, schema, says):
    (tmp_path / "one.json").write_text(json.dumps(schema))
    with pytest.raises(RecordTypeError, match=says):
        record_type("one.json", folder=tmp_path)


def test_files_and_types_that_cannot_be_used(tmp_path):
    for model in ("missing.json", "../outside.json", int, pydantic.RootModel[list[int]]):
        with pytest.raises(RecordTypeError):
            record_type(model, folder=tmp_path)
