"""Sources in fourteen languages and what is read from them; sources that are made to break a parser cost themselves alone."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import dagster
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_assets.repositories.chunking import FEWEST_LINES, MOST_BYTES, MOST_LINES, chunks
from ingestion_assets.repositories.languages import LANGUAGES
from ingestion_assets.repositories.source_facts import Chunk, Import, Parsed, Source
from ingestion_assets.repositories.source_parsing import parse_all

_SOURCES = {
    "python": b"import a.b as c, d\nfrom . import x\nfrom ..a import (y as z, w)\nfrom q import *\n@dec\ndef f(): g(); a.h()\n"
    b"class A:\n def m(self): pass\n x = 1\nV = 1\nW: int = 2\n",
    "javascript": b"import d, {a as b} from './x'; import * as n from 'y'; import 'z'; export {k} from './k'; export * from './all';\n"
    b"const r = require('./r'); import('./dyn'); export class A { m() {} }\nexport function f() { g(); a.h(); new K() }\nconst v = () => 1",
    "typescript": b"import type {Q} from './q'; import fs = require('fs'); export class A { m() {} }\n"
    b"interface I {} type T = I; enum E {} namespace N {} abstract class Z {} export const V = g<T>(1)",
    "tsx": b"import R from 'react'; export const A = () => <B x={1}>{f()}</B>",
    "go": b'package p\nimport "a"\nimport ( x "b/c"\n _ `d`)\nfunc F() { g(); a.H() }\nfunc (s *S) M() {}\ntype S struct{}\n'
    b"type I interface{}\ntype T int\nconst C = 1\nvar ( y = 1\n z = 2)\n",
    "rust": b"mod a; mod b { fn q() {} } pub use crate::x::{self, y::Z, w as v, k::*}; use a::b; extern crate foo;\n"
    b"fn f() { g(); a::h(); x.m(); mac!(1); } struct S; enum E {A} trait T { fn t(); } impl S { fn n(&self){} } const C: i32 = 1;",
    "java": b"package a.b; import x.Y; import static x.Y.z; import x.*; class A { int f = 1; A(){} void m() { g(); a.h(); new K(); } }"
    b" interface I {} enum E {} record R(int x) {}",
    "php": b"<?php namespace A\\B; use X\\Y as Z; use X\\{P, Q\\R}; require_once __DIR__.'/a.php'; class A { const C = D;\n"
    b"function m() { $this->f(); g(); A\\h(); S::t(); new K(); } } function f(){} enum E {} trait T {} interface I {}",
    "c": b'#include "a.h"\n#include <b/c.h>\nint *f(int x) { g(); a->h(); } struct S {int x;}; struct S *p; typedef struct S T;\n'
    b"static int v = 1;\nint proto(int);\n#define M 1\n",
    "cpp": b"namespace n { class A { int d(); void m() { g(); a.h(); b::c(); } }; } int A::q(int x) {} using U = int;\n"
    b"template<class T> T* t(T x) {}\n",
    "ruby": b"require 'a'\nrequire_relative './b'\nmodule M\nclass A < B\ndef f(x)\n g(x); y.z\nend\ndef self.q; end\nend\nend\nX = 1\n",
    "csharp": b"using A.B; using static A.C; using X = A.D; namespace N.M { class C { int P {get;} void F() { g(); a.h(); new K(); } }\n"
    b"enum E {} struct S{} interface I{} record R(int x); }",
    "kotlin": b"package a.b\nimport x.y.Z\nimport x.y.*\nclass A { fun f(a: Int): B { g(a); q.h(1) } }\nobject O\nval v = 1\ntypealias T = Int\n",
    "bash": b"source a/b.sh\n. ./x\nf() { g 1; }\nX=1\n",
}  # fmt: skip
_SYMBOLS = {
    "python": "f function, A class, m function, V constant, W constant",
    "javascript": "r constant, A class, m method, f function, v function",
    "typescript": "A class, m method, I interface, T type, E enum, N namespace, Z class, V constant",
    "tsx": "A function",
    "go": "F function, M method, S struct, I interface, T type, C constant, y variable, z variable",
    "rust": "b module, q function, f function, S struct, E enum, T trait, t function, n function, C constant",
    "java": "A class, f field, A method, m method, I interface, E enum, R class",
    "php": "A class, C constant, m method, f function, E enum, T trait, I interface",
    "c": "f function, S struct, T type, v variable, proto function, M macro",
    "cpp": "n namespace, A class, d method, m function, q function, U type, t function",
    "ruby": "M module, A class, f method, q method, X constant",
    "csharp": "C class, P property, F method, E enum, S struct, I interface, R class",
    "kotlin": "A class, f function, O object, v constant, T type",
    "bash": "f function, X variable",
}
_IMPORTS = {
    "python": [
        Import("import", "a.b"), Import("import", "d"), Import("from", "", ("x",), 1), Import("from", "a", ("y", "w"), 2),
        Import("from", "q", ("*",)),
    ],
    "javascript": [
        Import("import", "./x", ("default", "a")), Import("import", "y", ("*",)), Import("import", "z"), Import("export", "./k", ("k",)),
        Import("export", "./all", ("*",)), Import("require", "./r"), Import("dynamic", "./dyn"),
    ],
    "typescript": [Import("import", "./q", ("Q",)), Import("require", "fs")],
    "tsx": [Import("import", "react", ("default",))],
    "go": [Import("import", "a"), Import("import", "b/c"), Import("import", "d")],
    "rust": [
        Import("mod", "a"), Import("use", "crate::x", ("x",)), Import("use", "crate::x::y::Z", ("Z",)), Import("use", "crate::x::w", ("w",)),
        Import("use", "crate::x::k::*", ("*",)), Import("use", "a::b", ("b",)), Import("use", "foo", ("foo",)),
    ],
    "java": [Import("import", "x.Y"), Import("import", "x.Y.z"), Import("import", "x.*")],
    "php": [Import("use", "X\\Y"), Import("use", "X\\P"), Import("use", "X\\Q\\R"), Import("require", "/a.php")],
    "c": [Import("include", "a.h", level=1), Import("include", "b/c.h")],
    "cpp": [],
    "ruby": [Import("require", "a"), Import("require_relative", "./b")],
    "csharp": [Import("using", "A.B"), Import("using", "A.C"), Import("using", "A.D")],
    "kotlin": [Import("import", "x.y.Z"), Import("import", "x.y.*")],
    "bash": [Import("source", "a/b.sh"), Import("source", "./x")],
}  # fmt: skip
_CALLS = {
    "python": "g h", "javascript": "K g h require", "typescript": "g", "tsx": "f", "go": "H g", "rust": "g h m mac", "java": "K g h",
    "php": "K f g h t", "c": "g h", "cpp": "c g h", "ruby": "g require require_relative z", "csharp": "K g h", "kotlin": "g h",
    "bash": ". g source",
}  # fmt: skip
_PACKAGES = {"go": "p", "java": "a.b", "php": "A\\B", "csharp": "N.M", "kotlin": "a.b"}
_HOSTILE: Mapping[str, tuple[str, bytes, str | None]] = {
    "parentheses": ("javascript", b"x=" + b"(" * 200_000 + b"1" + b")" * 200_000, "too_deep"),
    "chained calls": ("javascript", b"a" + b".b()" * 100_000, "too_deep"),
    "sum": ("python", b"x=" + b"+".join([b"a"] * 200_000), "too_deep"),
    "blocks": ("java", b"class A{void f()" + b"{" * 50_000 + b"}" * 50_000 + b"}", "too_deep"),
    "minified, 5 MB": ("javascript", b"var a=1;function f(x){return x.b(c)};" * 140_000, None),
    "Latin-1": ("python", "ä = 'é'\ndef f(): pass\n".encode("latin-1"), None),
    "UTF-16": ("python", "def f(): pass\n".encode("utf-16"), None),
    "byte order mark": ("python", "\ufeffdef f(): pass\n".encode(), None),
    "lone surrogate": ("python", b"x = '\xed\xa0\x80'\n\xed\xa0\x80 = 1\n", None),
    "carriage returns": ("c", b"int a;\rint b;\r" * 1000, None),
    "NUL": ("c", b"int a\0b;\n" * 1000, None),
    "random bytes": ("javascript", random.Random(1).randbytes(50_000), None),
    "empty": ("go", b"", None),
    "long line of text": ("php", "é".encode() * 100_000, None),
    "unknown language": ("cobol", b"MOVE", "parse_failed"),
    "wide": ("python", b"a=1\n" * 50_000, None),
    "constants of one statement": ("javascript", b"const " + b",".join(b"a%d=1" % one for one in range(100_000)), None),
    "brackets never closed": ("python", b"[" * 200_000, "parse_timeout"),
}  # fmt: skip
_SLOW = Source(b"slow.js", b"", "javascript", random.Random(2).randbytes(1_000_000))
_GOOD = Source(b"good.py", b"", "python", b"def f(): pass\n")


def _parse(*sources: Source) -> list[Parsed]:
    return list(parse_all(sources, lambda: False))


@pytest.fixture(scope="module")
def parsed() -> dict[str, Parsed]:
    return {
        one.language: one
        for one in _parse(*(Source(b"x", b"b", language, content) for language, content in _SOURCES.items()))
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_symbols_imports_calls_and_package(language: str, parsed: dict[str, Parsed]) -> None:
    one = parsed[language]
    assert one.error is None
    assert ", ".join(f"{symbol.name} {symbol.kind}" for symbol in one.symbols) == _SYMBOLS[language]
    assert [Import(i.kind, i.target, i.names, i.level) for i in one.imports] == _IMPORTS[language]
    assert " ".join(one.calls) == _CALLS[language]
    assert one.package == _PACKAGES.get(language, "")
    assert {symbol.name for symbol in one.symbols} <= set(one.identifiers) | {"M"}
    assert Parsed.from_bytes(one.to_bytes()) == one


def test_lines_are_those_of_the_source(parsed: dict[str, Parsed]) -> None:
    assert [(s.name, s.start_line, s.end_line) for s in parsed["python"].symbols][:3] == [
        ("f", 6, 6),
        ("A", 7, 9),
        ("m", 8, 8),
    ]
    assert [one.line for one in parsed["python"].imports] == [1, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def hostile() -> dict[str, Parsed]:
    sources = [
        Source(name.encode(), b"", language, content) for name, (language, content, _) in _HOSTILE.items()
    ]
    return {one.path.decode(): one for one in _parse(*sources, _GOOD)}


@pytest.mark.parametrize("name", _HOSTILE)
def test_a_hostile_source_costs_itself_alone(name: str, hostile: dict[str, Parsed]) -> None:
    assert hostile[name].error == _HOSTILE[name][2]
    if hostile[name].error is None:
        _assert_covered(_HOSTILE[name][1], hostile[name].chunks)
    assert not any("\0" in text for text in hostile[name].identifiers)
    assert [symbol.name for symbol in hostile["good.py"].symbols] == ["f"]


def test_time_and_memory_are_limited_for_each_source() -> None:
    slow, good = parse_all([_SLOW, _GOOD], lambda: False, cpu_s=0.1)
    assert (slow.error, good.error) == ("parse_timeout", None)
    large = Source(b"large.js", b"", "javascript", b"x.b(c);" * 700_000)
    first, large_one, last = parse_all([_GOOD, large, _GOOD], lambda: False, memory_bytes=200 * 2**20)
    assert (first.error, last.error) == (None, None)
    assert large_one.error == "parse_failed"


def test_a_stop_ends_the_child_at_once_and_it_was_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_PLANTED", "hush")
    seen: list[tuple[psutil.Process, dict[str, str]]] = []
    asked = 0.0

    def stopped() -> bool:
        nonlocal asked
        seen.extend(
            (child, child.environ())
            for child in psutil.Process().children()
            if any(word.endswith("repositories.extraction") for word in child.cmdline())
        )
        asked = time.monotonic()
        return bool(seen)

    assert list(parse_all([_SLOW], stopped)) == []
    assert time.monotonic() - asked < 5
    child, environment = seen[0]
    assert not child.is_running()
    assert "hush" not in environment.values()


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "slow").write_bytes(_SLOW.content)
    program = f"""
from ingestion_assets.repositories.source_parsing import Source, parse_all
data = open({str(tmp_path / "slow")!r}, "rb").read()
list(parse_all([Source(b"", b"", "javascript", data)], lambda: print("asked", flush=True), cpu_s=600))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == [
        b"asked\n"
    ] * 2  # before the source, and while it is parsed
    (child,) = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=5)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


@given(
    st.lists(
        st.binary(max_size=90) | st.sampled_from([b"", b"# said", b"x" * 20_000, "é".encode() * 5000]),
        max_size=300,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(st.integers(0, 400), max_size=40),
    st.lists(st.integers(0, 400), max_size=40),
)
def test_chunks_cover_the_file(lines: list[bytes], end: bytes, outer: list[int], inner: list[int]) -> None:
    content = end.join(lines)
    _assert_covered(content, list(chunks(content, [outer, inner])))


def _assert_covered(content: bytes, found: Iterator[Chunk] | list[Chunk] | tuple[Chunk, ...]) -> None:
    found = list(found)
    assert b"".join(content[one.start_byte : one.end_byte] for one in found) == content
    assert all(before.end_byte == after.start_byte for before, after in pairwise(found))
    for one in found:
        assert 0 < one.end_byte - one.start_byte <= MOST_BYTES
        assert one.start_line <= one.end_line < one.start_line + MOST_LINES
        assert one.start_line == content.count(b"\n", 0, one.start_byte) + 1
        assert one.end_line == content.count(b"\n", 0, one.end_byte - 1) + 1
    if found:
        assert (found[0].start_byte, found[-1].end_byte) == (0, len(content))


def test_chunks_begin_where_symbols_begin_and_long_ones_are_cut_within() -> None:
    function = b"# What it does\n@cached\ndef f():\n" + b"    x = 1\n" * 8 + b"\n"  # 12 lines
    method = b"    def m(self):\n" + b"        x = 1\n" * 29  # 30 lines
    content = function * 6 + b"class A:\n" + method * 4
    (one,) = _parse(Source(b"x.py", b"", "python", content))
    assert [(chunk.start_line, chunk.end_line) for chunk in one.chunks] == [
        (1, 36), (37, 72), (73, 103), (104, 133), (134, 163), (164, 193),
    ]  # fmt: skip
    assert all(chunk.end_line - chunk.start_line + 1 >= FEWEST_LINES for chunk in one.chunks)


def test_speed_and_the_same_bytes_each_time() -> None:
    folder = Path(dagster.__file__).parent
    sources = [
        Source(bytes(path), b"", "python", path.read_bytes()) for path in sorted(folder.rglob("*.py"))[:400]
    ]
    size = sum(len(source.content) for source in sources) / 1e6
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = _parse(*sources)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{len(sources)} files, {size:.1f} MB: {size / spent:.1f} MB per second of CPU")
    assert {one.error for one in first} == {None}
    for source, one in zip(sources, first, strict=True):
        _assert_covered(source.content, one.chunks)
    assert size / spent >= 2
    few = _parse(*reversed(sources[:40]))
    assert [one.to_bytes() for one in reversed(few)] == [one.to_bytes() for one in first[:40]]
