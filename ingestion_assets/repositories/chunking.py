"""A file cut into chunks by its syntax: top-level symbols packed together, long ones cut at what is within them.

The chunks follow one another without a gap. None is longer than `MOST_LINES` lines or `MOST_BYTES` bytes; they have `FEWEST_LINES` lines
where the syntax lets them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from ingestion_assets.repositories.source_facts import Chunk

FEWEST_LINES, MOST_LINES, MOST_BYTES = 25, 64, 8192
_MARKS = (b"#", b"//", b"/*", b"*", b"@")  # of comments and decorators: they go with what follows


def chunks(content: bytes, levels: Sequence[Iterable[int]]) -> Iterator[Chunk]:
    """The chunks of a file. `levels`: the lines, from 0, at which it may be cut, those of the outermost symbols first."""
    lines = content.splitlines(keepends=True) if b"\r" not in content else _lines(content)
    starts, tops = [0], list[int]()
    for number, line in enumerate(lines):
        starts.append(starts[-1] + len(line))
        follows = number and lines[number - 1].lstrip().startswith(_MARKS)
        tops.append(tops[-1] if follows else number)
    cuts = [sorted({tops[line] for line in level if line < len(tops)}) for level in levels]
    for first, last in _merged(_packed(0, len(lines), cuts)):
        start, end = starts[first], starts[last]
        while end - start > MOST_BYTES:
            cut = _character(content, start + MOST_BYTES)
            yield Chunk(bisect_right(starts, start), bisect_left(starts, cut), start, cut)
            start = cut
        yield Chunk(bisect_right(starts, start), last, start, end)


def _lines(content: bytes) -> list[bytes]:
    """As tree-sitter counts them: a line ends with a line feed, never with a carriage return alone."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _packed(start: int, end: int, cuts: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """The lines from `start` to before `end` in runs of `MOST_LINES` at most, which end where the outermost level can be cut."""
    if not cuts:
        pieces = -(-(end - start) // MOST_LINES)
        yield from (
            (start + (end - start) * at // pieces, start + (end - start) * (at + 1) // pieces)
            for at in range(pieces)
        )
        return
    bounds = [start, *cuts[0][bisect_right(cuts[0], start) : bisect_left(cuts[0], end)], end]
    run = start
    for first, last in pairwise(bounds):
        if last - run > MOST_LINES and first > run:
            yield run, first
            run = first
        if last - first > MOST_LINES:
            yield from _packed(first, last, cuts[1:])
            run = last
        elif last - run >= FEWEST_LINES:
            yield run, last
            run = last
    if run < end:
        yield run, end


def _merged(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The runs; a short one goes with its neighbour where both have room."""
    before: tuple[int, int] | None = None
    for run in runs:
        if before is None:
            before = run
        elif run[1] - before[0] <= MOST_LINES and min(run[1] - run[0], before[1] - before[0]) < FEWEST_LINES:
            before = before[0], run[1]
        else:
            yield before
            before = run
    if before is not None and before[1] > before[0]:
        yield before


def _character(content: bytes, at: int) -> int:
    """`at`, or the beginning of the UTF-8 character that it is within."""
    for back in range(4):
        if content[at - back] & 0xC0 != 0x80:
            return at - back
    return at
