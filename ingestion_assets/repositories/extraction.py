"""The facts of one file, from its syntax tree. Runs in the child processes of `parsing` alone: a grammar is C code that may crash.

Nothing walks the whole tree: walks are quadratic in nested sources, and so are queries that start anywhere. A tree that is deeper than
`MOST_DEPTH` is refused, so a query misses nothing.
"""

import importlib
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache

import msgspec
from tree_sitter import Language, Node, Parser, Query, QueryCursor

from ingestion_assets.repositories.chunking import chunks
from ingestion_assets.repositories.import_statements import imports, text
from ingestion_assets.repositories.languages import LANGUAGES
from ingestion_assets.repositories.source_facts import Parsed, Source, Symbol

MOST_DEPTH = 500
MOST_SYMBOLS, MOST_NAME_BYTES = 20_000, 200
_SHARE_BYTES = 250_000
_NO_SYMBOLS = {"identifier", "call", "import", "package"}


def extract(source: Source) -> Parsed:
    """What is read from a source. Raises `RecursionError` where it is too deep."""
    parser, query, kinds = _grammar(source.language)
    root = parser.parse(source.content).root_node
    _refuse_depth(root)
    cursor = QueryCursor(query)
    cursor.set_max_start_depth(MOST_DEPTH)
    captured = cursor.captures(root)
    symbols: dict[tuple[int, int], Symbol] = {}
    for kind in kinds:
        for node in captured.get(kind, ()):
            if name := _name(node):
                place = node.start_byte, node.end_byte
                symbols.setdefault(place, Symbol(name, kind, node.start_point[0] + 1, node.end_point[0] + 1))
    found = [symbols[place] for place in sorted(symbols, key=lambda place: (place[0], -place[1]))]
    statements = sorted(captured.get("import", ()), key=lambda node: node.start_byte)
    outermost = {node.start_point[0] for node in root.children}
    return Parsed(
        source.path,
        source.blob,
        source.language,
        package="".join(text(next(iter(captured.get("package", ())), None)).split()),
        symbols=tuple(found[:MOST_SYMBOLS]),
        imports=tuple(one for node in statements for one in imports(source.language, node)),
        identifiers=_counted(captured.get("identifier", ())),
        calls=_counted(captured.get("call", ())),
        chunks=tuple(chunks(source.content, [outermost, (one.start_line - 1 for one in found)])),
    )


@cache
def _grammar(name: str) -> tuple[Parser, Query, list[str]]:
    chosen = LANGUAGES[name]
    language = Language(getattr(importlib.import_module(chosen.module), chosen.grammar)())
    query = Query(language, chosen.query)
    names = [query.capture_name(number) for number in range(query.capture_count)]
    return Parser(language), query, [one for one in names if one not in _NO_SYMBOLS]


def _refuse_depth(root: Node) -> None:
    """A node with fewer descendants than levels are left cannot be too deep: only few nodes are looked at."""
    pending = [(root, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > MOST_DEPTH:
            raise RecursionError
        if node.descendant_count > MOST_DEPTH - depth:
            pending += [(child, depth + 1) for child in node.children]


def _name(node: Node) -> str:
    for _ in range(MOST_DEPTH):
        inner = next(filter(None, map(node.child_by_field_name, ("name", "declarator", "left"))), None)
        if inner is None:
            break
        node = inner
    return next(iter(_counted([node])), "")


def _counted(nodes: Sequence[Node]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for name, times in Counter(node.text or b"" for node in nodes).items():
        if 0 < len(name) <= MOST_NAME_BYTES and b"\0" not in name and b"\n" not in name:
            shown = name.decode(errors="replace")
            counted[shown] = counted.get(shown, 0) + times
    return counted


def serve(cpu_s: float) -> None:
    """Answer each source on the standard input; frames are a length of 4 bytes and what it counts. For `cpu_s` see `parse_all`."""
    decoder = msgspec.msgpack.Decoder(Source)
    received, answers = sys.stdin.buffer, sys.stdout.buffer
    while size := received.read(4):
        source = decoder.decode(received.read(int.from_bytes(size, "big")))
        most_s = cpu_s * (1 + len(source.content) / _SHARE_BYTES)
        signal.setitimer(signal.ITIMER_PROF, most_s)  # its signal ends this process
        answer = _answer(source).to_bytes()
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(len(answer).to_bytes(4, "big") + answer)
        answers.flush()


def _answer(source: Source) -> Parsed:
    try:
        return extract(source)
    except RecursionError:
        error = "too_deep"
    except MemoryError:
        raise  # ends this process, as in C code
    except Exception:  # a source of any kind may come; the code is told, its content never
        error = "parse_failed"
    return Parsed(source.path, source.blob, source.language, error)


if __name__ == "__main__":
    serve(float(sys.argv[1]))
