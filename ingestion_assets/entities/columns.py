"""Whole columns: what a text must look like to be a value, and how it is handed to PostgreSQL, as polars expressions.

`values` says the same for single values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingestion_assets.entities.definition import EntityField, Formats
from ingestion_assets.entities.values import (
    INTEGER,
    RANGES,
    UUID,
    date_pattern,
    decimal_pattern,
    fitting_decimal,
    without_names,
)

if TYPE_CHECKING:
    import polars as pl


def good(one: EntityField, formats: Formats) -> pl.Expr:
    """Whether the text of a field is a value of its type."""
    import polars as pl  # noqa: PLC0415

    text = pl.col(one.name)
    missing = text == formats.missing
    passes = _passes(one, formats, text).fill_null(False)
    if one.empty == "allowed" and not formats.missing:
        return passes
    return missing | passes if one.nullable else ~missing & passes


def _passes(one: EntityField, formats: Formats, text: pl.Expr) -> pl.Expr:
    import polars as pl  # noqa: PLC0415

    def matches(pattern: str) -> pl.Expr:
        return text.str.contains(f"^(?:{pattern})$")

    match one.type:
        case "smallint" | "integer" | "bigint":
            limit = RANGES[one.type]
            value = text.cast(pl.Int64, strict=False)
            return matches(INTEGER) & value.is_between(-limit, limit - 1)
        case "decimal":
            written = matches(decimal_pattern(formats))
            plain = _plain_decimal(text, formats)
            return written & plain.str.contains(f"^(?:{fitting_decimal(one)})$")
        case "string" | "text":
            good = text.str.len_chars() <= one.length if one.length is not None else pl.lit(True)
            return good & text.is_in(list(one.values)) if one.values is not None else good
        case "boolean":
            return text.is_in([*formats.when_true, *formats.when_false])
        case "uuid":
            return matches(UUID)
        case "date":
            return matches(without_names(date_pattern(formats.date))) & _sane(_date(text, formats))
        case "timestamp":
            return matches(without_names(date_pattern(formats.timestamp))) & _sane(_timestamp(text, formats))


def _sane(moment: pl.Expr) -> pl.Expr:
    return moment.dt.year().is_between(1, 9999)


def _plain_decimal(text: pl.Expr, formats: Formats) -> pl.Expr:
    plain = text.str.replace_all(formats.group, "", literal=True) if formats.group else text
    return plain if formats.decimal == "." else plain.str.replace(formats.decimal, ".", literal=True)


def _date(text: pl.Expr, formats: Formats) -> pl.Expr:
    return text.str.to_date(formats.date, strict=False)


def _timestamp(text: pl.Expr, formats: Formats) -> pl.Expr:
    written = formats.timestamp.replace(".%f", "%.f")
    if "%z" in written:
        text = text.str.replace("Z$", "+0000")
        return text.str.to_datetime(written, strict=False, time_unit="us", time_zone="UTC")
    return text.str.to_datetime(written, strict=False, time_unit="us")


def column(one: EntityField, formats: Formats) -> pl.Expr:
    """The field as it is handed to PostgreSQL; only what passes `good` is used."""
    import polars as pl  # noqa: PLC0415

    text = pl.col(one.name)
    if one.nullable:
        text = pl.when(text != formats.missing).then(text)
    match one.type:
        case "smallint" | "integer" | "bigint":
            value = text.cast(pl.Int64, strict=False)
        case "decimal":
            value = _plain_decimal(text, formats)
        case "boolean":
            value = (
                pl.when(text.is_in(list(formats.when_true)))
                .then(pl.lit("true"))
                .when(text.is_not_null())
                .then(pl.lit("false"))
            )
        case "uuid":
            value = text.str.to_lowercase()
        case "date":
            value = _date(text, formats).dt.to_string("%Y-%m-%d") if formats.date != "%Y-%m-%d" else text
        case "timestamp":
            value = _timestamp(text, formats).dt.to_string("%Y-%m-%dT%H:%M:%S%.6f+00:00")
        case _:
            value = text
    return value.alias(one.name)
