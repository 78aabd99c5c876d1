"""Go: which files an import leads to, and what files of a package share."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

MOD = "== go.mod\nmodule example.com/me\n\ngo 1.22\n"
CASES = {
    "the file that defines what is used": (MOD + """
== main.go
package main
import "example.com/me/store"
func main() { store.Open() }
== store/open.go
package store
func Open() {}
== store/close.go
package store
func Close() {}
""", "main.go > store/open.go"),
    "several files of one package": (MOD + """
== main.go
package main
import "example.com/me/store"
var x store.Row = store.Open()
== store/open.go
package store
func Open() {}
== store/row.go
package store
type Row struct{}
""", """
main.go > store/open.go
main.go > store/row.go
"""),
    "a package for its effects": (MOD + """
== main.go
package main
import _ "example.com/me/driver"
== driver/driver.go
package driver
func init() {}
== driver/also.go
package driver
""", "main.go > driver/driver.go"),
    "another name for a package, a group of imports": (MOD + """
== main.go
package main
import (
	"fmt"
	other "example.com/me/a/b"
	. "example.com/me/c"
)
func main() { fmt.Println(other.F(), G()) }
== a/b/f.go
package b
func F() {}
== c/g.go
package c
func G() {}
""", """
main.go > a/b/f.go
main.go > c/g.go
"""),
    "no import of the standard library, nor of others": (MOD + """
== main.go
package main
import (
	"log"
	"github.com/other/log"
)
func main() { log.Print() }
== log/log.go
package log
func Print() {}
""", ""),
    "a module that is replaced by a folder": ("""
== app/go.mod
module example.com/app
require example.com/lib v1.0.0
replace example.com/lib v1.0.0 => ../vendored
== app/main.go
package main
import "example.com/lib/sub"
func main() { sub.F() }
== vendored/sub/f.go
package sub
func F() {}
""", "app/main.go > vendored/sub/f.go"),
    "a group of replacements, one by another module": ("""
== go.mod
module example.com/app
replace (
	example.com/one => ./one
	example.com/two => github.com/fork/two v1.2.3
)
== main.go
package main
import (
	"example.com/one"
	"example.com/two"
)
func main() { one.F(); two.F() }
== one/f.go
package one
func F() {}
== two/f.go
package two
func F() {}
""", "main.go > one/f.go"),
    "modules within modules": (MOD + """
== tools/go.mod
module example.com/me/tools
== tools/gen/gen.go
package gen
import "example.com/me/core"
func Gen() { core.Do() }
== core/do.go
package core
func Do() {}
== main.go
package main
import "example.com/me/tools/gen"
func main() { gen.Gen() }
""", """
tools/gen/gen.go > core/do.go
main.go > tools/gen/gen.go
"""),
    "two modules of one name": ("""
== a/go.mod
module example.com/m
== a/x/x.go
package x
func X() {}
== a/main.go
package main
import "example.com/m/x"
func main() { x.X() }
== b/go.mod
module example.com/m
== b/x/x.go
package x
func X() {}
== b/main.go
package main
import "example.com/m/x"
func main() { x.X() }
""", """
a/main.go > a/x/x.go
b/main.go > b/x/x.go
"""),
    "nobody imports tests": (MOD + """
== main.go
package main
import "example.com/me/x"
func main() { x.Helper(); x.Real() }
== x/x_test.go
package x
func Helper() {}
== x/x.go
package x
func Real() {}
""", "main.go > x/x.go"),
    "an outer test imports its package": (MOD + """
== x/x_test.go
package x_test
import "example.com/me/x"
func TestX() { x.Real() }
== x/x.go
package x
func Real() {}
""", "x/x_test.go > x/x.go"),
    "a longer name that begins alike": ("""
== go.mod
module example.com/me
== main.go
package main
import "example.com/mean/x"
func main() { x.X() }
== an/x/x.go
package x
func X() {}
== x/x.go
package x
func X() {}
""", ""),
    "a folder that has no such package": (MOD + """
== main.go
package main
import "example.com/me/generated"
func main() { generated.X() }
""", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_a_package_is_a_folder_and_its_files_share_names() -> None:
    found = graph(
        MOD
        + """
== a/one.go
package a
func one() { two(); helper() }
== a/two.go
package a
func two() {}
== a/two_test.go
package a
func helper() {}
func TestTwo() { two() }
== b/two.go
package b
func two() {}
"""
    )
    assert edges(found) == set()
    assert (
        edges(found, "call")
        == edges(found, "reference")
        == {"a/one.go > a/two.go", "a/two_test.go > a/two.go"}
    )


def test_a_method_is_not_what_an_import_is_for() -> None:
    found = graph(
        MOD
        + """
== main.go
package main
import "example.com/me/draw"
func main() { draw.JSON{}.Render() }
== draw/json.go
package draw
type JSON struct{}
func (JSON) Render() {}
== draw/text.go
package draw
type Text struct{}
func (Text) Render() {}
"""
    )
    assert edges(found) == {"main.go > draw/json.go"}


def test_what_does_not_resolve_is_counted() -> None:
    found = graph(
        MOD
        + """
== main.go
package main
import (
	"fmt"
	"example.com/me/x"
	"example.com/me/gone"
)
func main() { fmt.Println(x.X) }
== x/x.go
package x
var X = 1
"""
    )
    assert found.resolved == {"go": {"relative": 1}}
    assert found.unresolved == {"go": {"package": 1, "relative": 1}}
