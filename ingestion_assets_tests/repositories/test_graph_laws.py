"""What holds of every graph: the order of files changes nothing, hostile trees cost little, manifests may be anything."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.repositories.graph import build, manifest
from ingestion_assets.repositories.key_patterns import may_hold_secret
from ingestion_assets.repositories.recognizing import language_by_content
from ingestion_assets.repositories.source_facts import Import, Parsed, Symbol
from ingestion_assets_tests.long_tests import LONG, examples
from ingestion_assets_tests.repositories.graphs import edges, graph

FILES = 5_000 if LONG else 2_000
_NAMES = st.sampled_from(["a", "b", "index", "__init__", "mod", "lib", "x_test"])
_FOLDERS = st.sampled_from(["", "src/", "src/a/", "a/b/"])
_LANGUAGES = {
    "python": "py", "typescript": "ts", "go": "go", "rust": "rs", "php": "php", "java": "java", "csharp": "cs", "c": "h", "ruby": "rb",
    "bash": "sh",
}  # fmt: skip
_TARGETS = st.sampled_from(
    [
        "",
        "a",
        "b",
        ".",
        "./a",
        "../a",
        "./b",
        "a.b",
        "a.*",
        "a/b",
        "crate::a::b",
        "super::b",
        "A\\b",
        "#x",
        "@/a",
        "m/a",
        "a.h",
        "\ud800",
    ]
)
_WORDS = st.sampled_from(["f", "g", "h", "default", "*", "é"])
_IMPORTS = st.builds(
    Import,
    kind=st.sampled_from(
        ["import", "from", "export", "require", "use", "mod", "include", "require_relative", "source"]
    ),
    target=_TARGETS,
    names=st.lists(_WORDS, max_size=2).map(tuple),
    level=st.integers(0, 3),
    line=st.integers(1, 9),
)


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, Parsed]:
    """Files of any language, with any imports."""
    found = {}
    for language, folder, name in draw(
        st.lists(st.tuples(st.sampled_from(sorted(_LANGUAGES)), _FOLDERS, _NAMES), max_size=12)
    ):
        path = f"{folder}{name}.{_LANGUAGES[language]}".encode()
        words = draw(st.lists(_WORDS, max_size=4))
        found[path] = Parsed(
            path, b"", language, package=draw(st.sampled_from(["", "a", "m.a"])),
            symbols=tuple(Symbol(one, "function", 1, 1) for one in draw(st.lists(_WORDS, max_size=3))),
            imports=tuple(draw(st.lists(_IMPORTS, max_size=4))),
            identifiers=dict.fromkeys(words, 1), calls=dict.fromkeys(words[:2], 1),
        )  # fmt: skip
    return found


MANIFESTS = {
    b"tsconfig.json": b'{"compilerOptions": {"paths": {"@/*": ["./src/*", "./*"]}}}',
    b"package.json": b'{"name": "m", "workspaces": ["*"]}',
    b"src/package.json": b'{"name": "a", "main": "index.js"}',
    b"go.mod": b"module m\n",
    b"Cargo.toml": b'[package]\nname = "a"\n',
    b"composer.json": b'{"autoload": {"psr-4": {"A\\\\": "src"}}}',
}


@settings(deadline=None, max_examples=examples(150))
@given(tree=trees(), random=st.randoms(use_true_random=False))
def test_the_order_of_files_changes_nothing(tree: dict[bytes, Parsed], random) -> None:
    expected = build(tree, MANIFESTS)
    paths, manifests = list(tree), list(MANIFESTS)
    random.shuffle(paths)
    random.shuffle(manifests)
    found = build({path: tree[path] for path in paths}, {path: MANIFESTS[path] for path in manifests})
    assert found == expected
    counted = sum(
        sum(some.values()) for counts in (found.resolved, found.unresolved) for some in counts.values()
    )
    assert counted == sum(len(one.imports) for one in tree.values())
    assert all(
        one.source in tree and one.target in tree and one.source != one.target and one.weight > 0
        for one in found.edges
    )
    assert len({(one.source, one.target, one.kind) for one in found.edges}) == len(found.edges)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'"' + b'\\"' * 400_000, b"/*" * 400_000, b"\n" * 900_000,
        b"," * 400_000, b'{"name": 1, "exports": [null], "workspaces": {"packages": 3}, "extends": 5, "compilerOptions": {"paths": []}}',
        b'{"extends": ["./tsconfig.json", "x"], "compilerOptions": {"baseUrl": "../../..", "paths": {"*": [1, "../../*"]}}}',
        b"package = 3\nlib = 4\ndependencies = 5\n", b"a = " + b"[" * 50_000, b"x: &a [*a]\npackages: &b [*b]\n",
    ],
    ids=range(15),
)  # fmt: skip
def test_a_manifest_may_be_anything(content: bytes) -> None:
    names = [
        b"tsconfig.json",
        b"package.json",
        b"pnpm-workspace.yaml",
        b"lerna.json",
        b"go.mod",
        b"Cargo.toml",
        b"composer.json",
    ]
    assert all(map(manifest, names))
    tree = {
        path: Parsed(path, b"", language, imports=(Import("import", "a"), Import("use", "a\\b"), Import("use", "a::b"), Import("import", "./x")))
        for path, language in ((b"a.ts", "typescript"), (b"src/lib.rs", "rust"), (b"a.php", "php"), (b"a.go", "go"))
    }  # fmt: skip
    start = time.process_time()
    build(tree, dict.fromkeys(names, content))
    assert time.process_time() - start < 5


def _many(language: str, ending: str, imports: tuple[Import, ...], *, files: int) -> dict[bytes, Parsed]:
    """Files in 50 folders that all define and use much, with names in common and of their own."""
    found = {}
    for number in range(files):
        path = f"src/p{number % 50}/f{number}.{ending}".encode()
        own = [f"name{number}_{one}" for one in range(20)]
        others = [f"name{(number * 7 + one) % files}_{one % 20}" for one in range(150)]
        near = (
            Import("import", f"./f{number + 50}"),
            Import("from", f"f{number + 50}", ("*",), 1),
            Import("mod", f"f{number + 50}"),
        )
        found[path] = Parsed(
            path, b"", language, package=f"p{number % 50}",
            symbols=tuple(Symbol(one, "function", 1, 1) for one in (*own, "run", "main")),
            imports=(*imports, *near), identifiers=dict.fromkeys([*own, *others, "run"], 1), calls=dict.fromkeys(others[:40], 1),
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("language", "ending", "target"),
    [
        ("python", "py", "src.p1.f1"), ("typescript", "ts", "../p1/f1"), ("go", "go", "m/src/p1"), ("rust", "rs", "crate::p1::f1::run"),
        ("php", "php", "p1\\name1_1"), ("java", "java", "p1.*"), ("csharp", "cs", "p1"), ("c", "h", "p1/f1.h"), ("ruby", "rb", "../p1/f1"),
    ],
)  # fmt: skip
def test_thousands_of_files_take_seconds(language: str, ending: str, target: str) -> None:
    imports = (Import("import", target), Import("import", "nobody.knows/this"))
    tree = _many(language, ending, imports, files=FILES)
    tree[b"src/lib.rs"] = Parsed(b"src/lib.rs", b"", "rust")
    start = time.process_time()
    found = build(tree, MANIFESTS)
    assert time.process_time() - start < FILES / 500
    assert found.edges


def test_languages_that_only_name_files() -> None:
    found = graph("""
== include/lib/api.h
void api(void);
== src/api.c
#include "lib/api.h"
#include <string.h>
#include "gone.h"
void api(void) {}
== src/main.cc
#include <lib/api.h>
#include "local.hpp"
int main() { api(); }
== src/local.hpp
== other/string.h
== lib/tool/run.rb
require_relative 'help'
require 'tool/version'
require 'json'
== lib/tool/help.rb
== lib/tool/version.rb
== bin/run.sh
source "$(dirname "$0")/common.sh"
. ./gone.sh
== bin/common.sh
""")
    assert edges(found) == {
        "src/api.c > include/lib/api.h",
        "src/main.cc > include/lib/api.h",
        "src/main.cc > src/local.hpp",
        "lib/tool/run.rb > lib/tool/help.rb",
        "lib/tool/run.rb > lib/tool/version.rb",
        "bin/run.sh > bin/common.sh",
    }
    assert edges(found, "call") == {"src/main.cc > include/lib/api.h"}


GROWING = {
    "a header of classes": lambda size: language_by_content(b"class a\n" * (size // 8), "c"),
    "one long class": lambda size: language_by_content(b"class " + b"a" * size, "c"),
    "a dotted key": lambda size: build({}, {b"Cargo.toml": b"a." * (size // 2) + b"a=1\n"}),
    "many dotted keys": lambda size: build(
        {}, {b"Cargo.toml": b"".join(b"%da.%s=1\n" % (n, b"a." * 80 + b"a") for n in range(size // 170))}
    ),
    "brackets of YAML": lambda size: build({}, {b"pnpm-workspace.yaml": b"- [a, {b: c}]\n" * (size // 60)}),
    "strings of JSON": lambda size: build({}, {b"package.json": b'"",' * (size // 3)}),
    "arrows of go.mod": lambda size: build({}, {b"go.mod": b"module m\n" + b"replace a " * (size // 10)}),
    "beginnings of addresses": lambda size: may_hold_secret("a." * (size // 2)),
    "beginnings of secrets": lambda size: may_hold_secret("secret" * (size // 6)),
    "beginnings of tokens": lambda size: may_hold_secret("eyJ-" * (size // 4)),
    "one package imported again and again": lambda size: build(_importing(size // 100), {}),
}


def _importing(times: int) -> dict[bytes, Parsed]:
    names = [f"N{number}" for number in range(times)]
    one = Import("import", "a.*")
    return {
        b"a/A.java": Parsed(
            b"a/A.java",
            b"",
            "java",
            package="a",
            symbols=tuple(Symbol(name, "class", 1, 1) for name in names),
        ),
        b"b/B.java": Parsed(
            b"b/B.java", b"", "java", package="b", imports=(one,) * times, identifiers=dict.fromkeys(names, 1)
        ),
    }


@pytest.mark.parametrize("what", GROWING)
def test_what_is_read_of_a_file_takes_time_by_its_size_and_not_by_its_square(what: str) -> None:
    small, times = 8_000, 16

    def took(size: int) -> float:
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            GROWING[what](size)
            best = min(best, time.process_time() - began)
        return best

    assert took(small * times) < 5 * times * max(took(small), 0.0002)


def test_a_graph_that_is_being_made_asks_whether_to_stop() -> None:
    class Stopped(Exception): ...  # noqa: N818

    def stop() -> None:
        raise Stopped

    for tree, manifests in (({}, MANIFESTS), (_importing(1), {})):
        with pytest.raises(Stopped):
            build(tree, manifests, stop)


@pytest.mark.parametrize("written", ["!!bool foo", "!!int ''", "!!timestamp foo", "!!python/object:a.B {}"])
def test_values_that_are_not_what_they_claim_cost_nothing(written: str) -> None:
    built = build({}, {b"package.json": b"{}", b"pnpm-workspace.yaml": f"packages: {written}\n".encode()})
    assert built.unread == []


def test_manifests_that_cannot_be_read_are_told() -> None:
    broken = {b"package.json": b"[", b"a/go.mod": b"", b"b/Cargo.toml": b"= 1", b"c/lerna.json": b"[]"}
    assert build({}, {**broken, b"d/package.json": b"{}", b"setup.py": b"\xff"}).unread == sorted(broken)
