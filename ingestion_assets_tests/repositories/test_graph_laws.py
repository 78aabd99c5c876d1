"""What holds of every graph: the order of files changes nothing, hostile trees cost little, manifests may be anything."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_assets.repositories.graph import build, manifest
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
