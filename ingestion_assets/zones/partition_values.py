"""Which partition a payload belongs to, where a zone is partitioned by a value of its records."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ingestion_assets.zones.document import ByValue

LONGEST = 128


class MixedValuesError(ValueError):
    """The records of a payload name no partition, or several; says which record and what to do."""


def partition_value(by: ByValue | None, records: Sequence[bytes]) -> str | None:
    """The value that all of a payload's records have; None for a zone of days.

    A payload is one partition's, so that it is claimed and rebuilt as a whole. Raises `MixedValuesError`.
    """
    if by is None:
        return None
    names = by.by.removeprefix("$.").split(".")
    found: str | None = None
    for position, record in enumerate(records):
        value = _text_of(_value_at(record, names), position, by.by)
        if found is not None and value != found:
            raise MixedValuesError(
                f"record {position} has another value at {by.by} than those before: send the records of each one in a payload of their own"
            )
        found = value
    return found


def check_by(by: str) -> None:
    """Raises `ValueError` unless `by` names a field, or one within objects: `$.store`, `$.order.store`."""
    names = by.removeprefix("$.").split(".")
    if not by.startswith("$.") or not all(
        name.replace("_", "a").replace("-", "a").isalnum() for name in names
    ):
        raise ValueError(f"{by!r} names no field: write $.store, or $.order.store where it lies in an object")


def _value_at(record: bytes, names: Sequence[str]) -> Any:
    try:
        value = msgspec.json.decode(record)
    except msgspec.DecodeError:
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text_of(value: Any, position: int, by: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or len(text) > LONGEST or not text.isprintable():
        raise MixedValuesError(
            f"record {position} has no text of 1 to {LONGEST} printable characters, or whole number, at {by}, which names its partition"
        )
    return text
