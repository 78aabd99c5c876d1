"""Rust: which files a `use` or `mod` leads to."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

TOML = '== Cargo.toml\n[package]\nname = "me"\n'
CASES = {
    "modules of a crate": (TOML + """
== src/lib.rs
mod a;
pub mod b;
== src/a.rs
use crate::b::F;
== src/b/mod.rs
pub struct F;
mod deep;
== src/b/deep.rs
use super::F;
""", """
src/lib.rs > src/a.rs
src/lib.rs > src/b/mod.rs
src/a.rs > src/b/mod.rs
src/b/mod.rs > src/b/deep.rs
src/b/deep.rs > src/b/mod.rs
"""),
    "a module with a folder beside it": (TOML + """
== src/main.rs
mod a;
use a::inner::{Thing, other as o};
== src/a.rs
pub mod inner;
use self::inner::Thing;
== src/a/inner.rs
pub struct Thing;
pub fn other() {}
use super::super::a::inner;
""", """
src/main.rs > src/a.rs
src/main.rs > src/a/inner.rs
src/a.rs > src/a/inner.rs
"""),
    "a name that a module hands on": (TOML + """
== src/lib.rs
mod a;
mod c;
== src/a/mod.rs
pub use self::b::Thing;
mod b;
== src/a/b.rs
pub struct Thing;
== src/c.rs
use crate::a::Thing;
""", """
src/lib.rs > src/a/mod.rs
src/lib.rs > src/c.rs
src/a/mod.rs > src/a/b.rs
src/c.rs > src/a/mod.rs
src/c.rs > src/a/b.rs
"""),
    "a crate of the workspace, by its folder": ("""
== Cargo.toml
[workspace]
members = ["crates/*"]
== crates/core-lib/Cargo.toml
[package]
name = "core-lib"
== crates/core-lib/src/lib.rs
pub mod x;
== crates/core-lib/src/x.rs
pub fn f() {}
== crates/app/Cargo.toml
[package]
name = "app"
[dependencies]
core-lib = { path = "../core-lib" }
serde = "1"
== crates/app/src/main.rs
use core_lib::x::f;
use serde::Serialize;
use std::io;
""", """
crates/core-lib/src/lib.rs > crates/core-lib/src/x.rs
crates/app/src/main.rs > crates/core-lib/src/x.rs
"""),
    "a dependency that the workspace declares, under another name": ("""
== Cargo.toml
[workspace]
members = ["a", "b"]
[workspace.dependencies]
short = { path = "b", package = "a-long-name" }
== a/Cargo.toml
[package]
name = "a"
[dependencies]
short.workspace = true
== a/src/lib.rs
use short::Thing;
== b/Cargo.toml
[package]
name = "a-long-name"
== b/src/lib.rs
pub struct Thing;
""", "a/src/lib.rs > b/src/lib.rs"),
    "a library with a path and a name of its own": ("""
== x/Cargo.toml
[package]
name = "x"
[lib]
name = "ex"
path = "lib/root.rs"
== x/lib/root.rs
pub mod part;
== x/lib/part.rs
pub fn f() {}
== x/tests/t.rs
use ex::part::f;
""", """
x/lib/root.rs > x/lib/part.rs
x/tests/t.rs > x/lib/part.rs
"""),
    "tests and binaries use the library": (TOML + """
== src/lib.rs
pub fn f() {}
== src/bin/tool.rs
use me::f;
== tests/it.rs
mod common;
use me::f;
== tests/common/mod.rs
pub fn g() {}
""", """
src/bin/tool.rs > src/lib.rs
tests/it.rs > src/lib.rs
tests/it.rs > tests/common/mod.rs
"""),
    "a module written within a file is not the file": (TOML + """
== src/lib.rs
mod a;
pub struct Outer;
== src/a.rs
fn f() {}
#[cfg(test)]
mod tests {
    use super::f;
    use super::super::Outer;
}
""", """
src/lib.rs > src/a.rs
src/a.rs > src/lib.rs
"""),
    "the same stem elsewhere": (TOML + """
== src/lib.rs
mod a;
mod b;
== src/a/mod.rs
mod util;
use self::util::f;
== src/a/util.rs
pub fn f() {}
== src/b/mod.rs
mod util;
== src/b/util.rs
pub fn f() {}
""", """
src/lib.rs > src/a/mod.rs
src/lib.rs > src/b/mod.rs
src/a/mod.rs > src/a/util.rs
src/b/mod.rs > src/b/util.rs
"""),
    "a cycle": (TOML + """
== src/lib.rs
mod a;
mod b;
== src/a.rs
pub use crate::b::*;
use crate::b::Nowhere;
== src/b.rs
pub use crate::a::*;
""", """
src/lib.rs > src/a.rs
src/lib.rs > src/b.rs
src/a.rs > src/b.rs
src/b.rs > src/a.rs
"""),
    "nested groups, and self": (TOML + """
== src/lib.rs
mod a;
mod b;
mod c;
== src/a.rs
use crate::{b::{self, f}, c::{g as h}};
== src/b.rs
pub fn f() {}
== src/c.rs
pub fn g() {}
""", """
src/lib.rs > src/a.rs
src/lib.rs > src/b.rs
src/lib.rs > src/c.rs
src/a.rs > src/b.rs
src/a.rs > src/c.rs
"""),
    "a module that is not there, another's crate": (TOML + """
== src/lib.rs
mod gone;
use tokio::sync::Mutex;
extern crate libc;
""", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_what_does_not_resolve_is_counted() -> None:
    found = graph(
        TOML
        + """
== src/lib.rs
mod gone;
mod a;
use tokio::sync::Mutex;
== src/a.rs
"""
    )
    assert found.resolved == {"rust": {"relative": 1}}
    assert found.unresolved == {"rust": {"package": 1, "relative": 1}}
