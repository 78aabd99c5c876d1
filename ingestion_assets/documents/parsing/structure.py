"""The headings, tables, list items and code of a text in Markdown, as spans of it. One pass over its lines."""

import re
from collections.abc import Callable, Iterator

from ingestion_assets.documents.parsing.parsed_files import Block

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ITEM = re.compile(r"[ \t]*([-*+]|\d{1,9}[.)])[ \t]+\S")
_RULE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_UNDERLINE = {"=": 1, "-": 2}


def blocks(text: str, start: int = 0) -> Iterator[Block]:
    """The blocks of a text that begins at `start` of a longer one; what lies between them is running text."""
    lines = text.splitlines(keepends=True)
    number, place = 0, start
    while number < len(lines):
        line = lines[number].rstrip()
        taken, block = _block(lines, number, line, place)
        length = sum(map(len, lines[number : number + taken]))
        if block is not None:
            yield block
        number, place = number + taken, place + length


def _block(lines: list[str], number: int, line: str, start: int) -> tuple[int, Block | None]:
    """How many lines it takes, and the block they are."""
    if found := _HEADING.match(line):
        return 1, Block("heading", start, start + len(line), level=len(found[1]), title=found[2])
    if fence := _FENCE.match(line):
        taken = _until(lines, number + 1, lambda other: other.strip().startswith(fence[1])) + 2
        return taken, _of("code", lines, number, taken, start)
    following = lines[number + 1].rstrip() if number + 1 < len(lines) else ""
    if line.lstrip().startswith("|") or ("|" in line and "|" in following and _RULE.match(following)):
        taken = 1 + _until(lines, number + 1, lambda other: "|" not in other)
        head = 2 if taken > 1 and _RULE.match(following) else 1
        return taken, _of(
            "table", lines, number, taken, start, header="".join(lines[number : number + head]).rstrip()
        )
    if _ITEM.match(line):
        taken = 1 + _until(
            lines, number + 1, lambda other: not other.strip() or bool(_ITEM.match(other)) or other[0] in "#|"
        )
        return taken, _of("list", lines, number, taken, start)
    begins = number == 0 or not lines[number - 1].strip()
    if begins and line and len(set(following)) == 1 and len(following) > 2 and following[0] in _UNDERLINE:
        end = start + len(lines[number]) + len(following)
        return 2, Block("heading", start, end, level=_UNDERLINE[following[0]], title=line.strip())
    return 1, None


def _until(lines: list[str], number: int, ends: Callable[[str], bool]) -> int:
    """How many lines there are before one that `ends` says yes to."""
    first = number
    while number < len(lines) and not ends(lines[number]):
        number += 1
    return number - first


def _of(kind: str, lines: list[str], number: int, taken: int, start: int, *, header: str = "") -> Block:
    shown = "".join(lines[number : number + taken]).rstrip()
    return Block(kind, start, start + len(shown), header=header)  # type: ignore[arg-type]


def plain(text: str) -> str:
    """Markdown without its marks: for `preserve_structure` off."""
    kept = [
        _HEADING.sub(r"\2", line)
        for line in text.splitlines()
        if not (line.startswith(("|", "-", ":")) and _RULE.match(line)) and not _FENCE.match(line)
    ]
    return "\n".join(
        " ".join(filter(None, map(str.strip, line.split("|")))) if line.startswith("|") else line
        for line in kept
    )
