"""Whole payloads: lines to typed columns, vectorized per entity; only lines that did not pass are read one by one.

What the fast path lets through, the slow path (`lines.read_line`) reads to the same values; the tests hold them to it.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

from ingestion_assets.entities.columns import column, good
from ingestion_assets.entities.definition import Entity
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.lines import (
    BLANK,
    BOM,
    GLUED,
    LONGEST_LINE,
    Line,
    LineFault,
    Row,
    looks_glued,
    read_line,
    records,
)

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

FEW_BYTES = 32 * 1024
"""Payloads below are read line by line: quicker than to set up columns."""


@dataclass(slots=True)
class Rows:
    """Rows of one entity. `records` are their places among the payload's records; `values` are rows or columns."""

    entity: Entity
    records: Sequence[int] | np.ndarray[Any, Any]
    values: list[tuple[str | None, ...]] | pl.DataFrame

    def __len__(self) -> int:
        return len(self.records)

    def part(self, chosen: slice) -> Rows:
        """Some of the rows."""
        return Rows(self.entity, self.records[chosen], self.values[chosen])

    def without(self, records: Collection[int]) -> Rows:
        """The rows but for those of some records."""
        kept = [int(record) not in records for record in self.records]
        if isinstance(self.values, list):
            return Rows(self.entity, list(compress(self.records, kept)), list(compress(self.values, kept)))
        import numpy as np  # noqa: PLC0415

        return Rows(self.entity, np.asarray(self.records)[kept], self.values.filter(kept))

    def as_csv(self, *leading: Sequence[int] | np.ndarray[Any, Any]) -> bytes:
        """What COPY … (FORMAT csv) takes, the leading columns of integers first. NULL is an unquoted nothing."""
        if isinstance(self.values, list):
            out = io.StringIO()
            for *numbers, row in zip(*leading, self.values, strict=True):
                quoted = ("" if value is None else '"' + value.replace('"', '""') + '"' for value in row)
                out.write(",".join((*map(str, numbers), *quoted)) + "\n")
            return out.getvalue().encode()
        import polars as pl  # noqa: PLC0415

        numbers = [pl.Series(f"_{index}", values) for index, values in enumerate(leading)]
        return (
            self.values.select(*numbers, pl.all())
            .write_csv(include_header=False, quote_style="non_numeric")
            .encode()
        )

    def tuples(self) -> list[tuple[str | None, ...]]:
        """The values as PostgreSQL is given them, row by row."""
        if isinstance(self.values, list):
            return self.values
        return [tuple(None if value is None else str(value) for value in row) for row in self.values.rows()]


@dataclass(slots=True)
class Parsed:
    """A payload that was read: its rows by entity, and what was wrong with other records."""

    body: bytes
    count: int
    rows: list[Rows] = field(default_factory=list)
    faults: dict[int, LineFault] = field(default_factory=dict)
    _lines: list[Line] | None = None
    _starts: Any = None
    _ends: Any = None
    _numbers: Any = None

    def line(self, record: int) -> Line:
        """Where a record stands, and its bytes."""
        if self._lines is not None:
            return self._lines[record]
        start, end = int(self._starts[record]), int(self._ends[record])
        return Line(int(self._numbers[record]), start, self.body[start:end])

    def numbers(self, records: Any) -> Any:
        """The line numbers of some records."""
        if self._lines is not None:
            return [self._lines[int(record)].number for record in records]
        return self._numbers[records]


def parse(body: bytes, entities: EntitySet, *, begins: bool = True, few_bytes: int = FEW_BYTES) -> Parsed:
    """Read a payload. Never fails: what cannot be read is among the faults. `begins` is as for `records`."""
    read = _parse_few if len(body) < few_bytes else _parse_many
    parsed = read(body, entities, begins=begins)
    fault = parsed.faults.get(0) if parsed.count == 1 and b"\n" not in body else None
    if fault and fault.code == "too_many_fields" and looks_glued(entities, parsed.line(0).raw):
        parsed.faults[0] = replace(fault, message=fault.message + GLUED)
    return parsed


def _parse_few(body: bytes, entities: EntitySet, *, begins: bool) -> Parsed:
    lines = list(records(body, begins=begins))
    parsed = Parsed(body, len(lines), _lines=lines)
    _read_singly(parsed, range(len(lines)), entities)
    return parsed


def _read_singly(parsed: Parsed, chosen: Sequence[int], entities: EntitySet) -> None:
    found: dict[str, Rows] = {}
    for record in chosen:
        read = read_line(entities, parsed.line(record).raw)
        if isinstance(read, Row):
            rows = found.setdefault(read.entity.entity, Rows(read.entity, [], []))
            rows.records.append(record)  # pyright: ignore[reportAttributeAccessIssue]
            rows.values.append(read.values)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            parsed.faults[record] = read
    parsed.rows += found.values()


def _parse_many(body: bytes, entities: EntitySet, *, begins: bool) -> Parsed:
    import numpy as np  # noqa: PLC0415

    data = np.frombuffer(body, dtype=np.uint8)
    starts, ends, numbers = _cut(data, begins=begins)
    parsed = Parsed(body, len(starts), _starts=starts, _ends=ends, _numbers=numbers)
    if not len(starts):
        return parsed
    odd = _odd_lines(body, data, starts, ends)
    pipes = np.flatnonzero(data == ord("|"))
    first = np.searchsorted(pipes, starts)
    counts = np.searchsorted(pipes, ends) - first
    ends_with_pipe = (data[np.maximum(ends - 1, 0)] == ord("|")) & (counts > 0)
    heads = np.where(counts > 0, np.append(pipes, 0)[first], ends) - starts
    for prefix, entity in entities.by_prefix.items():
        mine = ~odd & (heads == len(prefix))
        for index, letter in enumerate(prefix.encode()):
            mine[mine] = data[starts[mine] + index] == letter
        wanted = len(entity.fields)
        for given in range(entity.required, wanted + 1):
            whole = mine & (counts == given) & ~(ends_with_pipe & (given > entity.required))
            trailing = mine & (counts == given + 1) & ends_with_pipe
            for chosen, cut in ((whole, 0), (trailing, 1)):
                _read_columns(parsed, data, np.flatnonzero(chosen), entity, given, cut=cut)
    settled = np.zeros(len(starts), dtype=bool)
    for rows in parsed.rows:
        settled[np.asarray(rows.records)] = True
    _read_singly(parsed, np.flatnonzero(~settled).tolist(), entities)
    return parsed


def _cut(data: Any, *, begins: bool) -> tuple[Any, Any, Any]:
    """Starts, ends and numbers of the lines that are records."""
    import numpy as np  # noqa: PLC0415

    breaks = np.flatnonzero(data == ord("\n"))
    begin = len(BOM) if begins and data[:3].tobytes() == BOM else 0
    starts = np.concatenate(([begin], breaks + 1))
    ends = np.concatenate((breaks, [len(data)]))
    numbers = np.arange(1, len(starts) + 1)
    ends = ends - ((ends > starts) & (data[np.maximum(ends - 1, 0)] == ord("\r")))
    first = data[np.minimum(starts, len(data) - 1)]
    kept = (ends > starts) & (first != ord("#"))
    for index in np.flatnonzero(kept & np.isin(first, np.frombuffer(BLANK, dtype=np.uint8))):
        kept[index] = bool(data[starts[index] : ends[index]].tobytes().strip(BLANK))
    return starts[kept], ends[kept], numbers[kept]


def _odd_lines(body: bytes, data: Any, starts: Any, ends: Any) -> Any:
    """Which lines columns cannot be trusted with: too long, with invalid UTF-8, NUL, a carriage return within."""
    import numpy as np  # noqa: PLC0415

    odd = ends - starts > LONGEST_LINE

    def mark(position: Any) -> None:
        at = np.searchsorted(starts, position, side="right") - 1
        inside = (at >= 0) & (position < ends[np.maximum(at, 0)])
        odd[at[inside]] = True

    for letter in (0, ord("\r")):
        mark(np.flatnonzero(data == letter))
    at = 0
    while True:
        try:
            body[at:].decode() if at else body.decode()
        except UnicodeDecodeError as error:
            position = np.array([at + error.start])
            mark(position)
            nearest = int(np.searchsorted(starts, position[0], side="right"))
            if nearest >= len(starts):
                return odd
            at = int(starts[nearest])
            if odd.sum() > 50:
                for index in np.flatnonzero(np.add.reduceat(data >= 128, starts)):
                    odd[index] = odd[index] or not _decodes(body[starts[index] : ends[index]])
                return odd
        else:
            return odd


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_columns(parsed: Parsed, data: Any, chosen: Any, entity: Entity, given: int, *, cut: int) -> None:
    """Read the chosen lines, which have `given` fields, as columns; those that do not pass are left out."""
    import numpy as np  # noqa: PLC0415
    import polars as pl  # noqa: PLC0415

    starts, ends = parsed._starts[chosen] + len(entity.prefix) + 1, parsed._ends[chosen] - cut
    if (
        len(chosen) and data[starts[0] : starts[0] + len(BOM)].tobytes() == BOM
    ):  # polars would take it for a file's
        other = data[np.minimum(starts, len(data) - 1)] != BOM[0]
        starts, ends, chosen = starts[other], ends[other], chosen[other]
    if not len(chosen) or (given == 1 and bool((starts == ends).any())):
        return
    texts = pl.read_csv(
        io.BytesIO(_gather(data, starts, ends)), separator="|", quote_char=None, has_header=False,
        schema=dict.fromkeys(entity.names[:given], pl.String),
    ).fill_null("")  # fmt: skip
    if texts.height != len(chosen):
        return
    fields = entity.fields[:given]
    columns = texts.select(
        *(column(one, entity.formats) for one in fields),
        *(pl.lit(None, dtype=pl.String).alias(name) for name in entity.names[given:]),
        _good=pl.all_horizontal([good(one, entity.formats) for one in fields]),
    )
    passed = columns["_good"]
    columns = columns.drop("_good")
    if not passed.all():
        columns, chosen = columns.filter(passed), chosen[passed.to_numpy()]
    if len(chosen):
        parsed.rows.append(Rows(entity, np.asarray(chosen), columns))


def _gather(data: Any, starts: Any, ends: Any) -> bytes:
    """The bytes between starts and ends, each followed by a line's end."""
    import numpy as np  # noqa: PLC0415

    edges = np.zeros(len(data) + 2, dtype=np.int8)
    edges[starts] += 1
    edges[ends + 1] -= 1  # with the byte behind each line, which becomes its end
    inside = np.cumsum(edges[: len(data)], dtype=np.int8).view(np.bool_)
    gathered = data[inside]
    if ends[-1] == len(data):
        gathered = np.append(gathered, np.uint8(0))
    gathered[np.cumsum(ends - starts + 1) - 1] = ord("\n")
    return gathered.tobytes()
