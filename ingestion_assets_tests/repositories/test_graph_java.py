"""Java, with Kotlin and C# beside it: which files an import leads to, and what files of a package share."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

CASES = {
    "a class": ("""
== src/main/java/a/b/Foo.java
package a.b;
public class Foo {}
== src/main/java/a/Use.java
package a;
import a.b.Foo;
class Use { Foo foo; }
""", "src/main/java/a/Use.java > src/main/java/a/b/Foo.java"),
    "a class below another root": ("""
== src/main/java/a/Foo.java
package a;
public class Foo {}
== src/test/java/t/FooTest.java
package t;
import a.Foo;
import org.junit.Test;
class FooTest {}
""", "src/test/java/t/FooTest.java > src/main/java/a/Foo.java"),
    "a nested class, and deeper": ("""
== x/Outer.java
package x;
public class Outer { public static class Inner { public enum Deep { A } } }
== y/Use.java
package y;
import x.Outer.Inner;
import x.Outer.Inner.Deep;
""", "y/Use.java > x/Outer.java"),
    "a static member, all static members": ("""
== x/Tools.java
package x;
public class Tools { public static void f() {} }
== x/More.java
package x;
public class More { public static void g() {} }
== y/Use.java
package y;
import static x.Tools.f;
import static x.More.*;
""", """
y/Use.java > x/Tools.java
y/Use.java > x/More.java
"""),
    "a whole package, of which some is used": ("""
== x/A.java
package x;
public class A {}
== x/B.java
package x;
public class B {}
== y/Use.java
package y;
import x.*;
class Use { A a; }
""", "y/Use.java > x/A.java"),
    "the same class elsewhere": ("""
== x/Util.java
package x;
public class Util {}
== z/Util.java
package z;
public class Util {}
== y/Use.java
package y;
import z.Util;
""", "y/Use.java > z/Util.java"),
    "one package in two projects": ("""
== one/src/x/Util.java
package x;
public class Util {}
== one/src/y/Use.java
package y;
import x.Util;
== two/src/x/Util.java
package x;
public class Util {}
== two/src/y/Use2.java
package y;
import x.Util;
""", """
one/src/y/Use.java > one/src/x/Util.java
two/src/y/Use2.java > two/src/x/Util.java
"""),
    "two classes in a file": ("""
== x/A.java
package x;
public class A {}
class Other {}
== x/sub/Use.java
package x.sub;
import x.Other;
""", "x/sub/Use.java > x/A.java"),
    "interfaces, enums, records, annotations": ("""
== x/I.java
package x;
public interface I {}
== x/E.java
package x;
public enum E { ONE }
== x/R.java
package x;
public record R(int a) {}
== x/N.java
package x;
public @interface N {}
== y/Use.java
package y;
import x.I;
import x.E;
import x.R;
import x.N;
""", """
y/Use.java > x/I.java
y/Use.java > x/E.java
y/Use.java > x/R.java
y/Use.java > x/N.java
"""),
    "a cycle": ("""
== x/A.java
package x;
import y.B;
public class A {}
== y/B.java
package y;
import x.A;
public class B {}
""", """
x/A.java > y/B.java
y/B.java > x/A.java
"""),
    "classes of others": ("""
== x/List.java
package x;
public class List {}
== y/Use.java
package y;
import java.util.List;
import java.util.*;
import x.Gone;
""", ""),
    "a folder that is called otherwise than the package": ("""
== weird/place/A.java
package real.name;
public class A {}
== Use.java
import real.name.A;
class Use {}
""", "Use.java > weird/place/A.java"),
    "Kotlin and Java": ("""
== src/a/Foo.java
package a;
public class Foo {}
== src/b/Bar.kt
package b
import a.Foo
fun make(): Foo = Foo()
== src/c/Use.kt
package c
import b.make
""", """
src/b/Bar.kt > src/a/Foo.java
src/c/Use.kt > src/b/Bar.kt
"""),
    "C#": ("""
== Lib/Store.cs
namespace My.Lib;
public class Store {}
== Lib/Unused.cs
namespace My.Lib;
public class Unused {}
== App/Use.cs
using System;
using My.Lib;
class Use { Store store; }
""", "App/Use.cs > Lib/Store.cs"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_files_of_a_package_share_names() -> None:
    found = graph("""
== main/x/A.java
package x;
class A { B b; C c; }
== test/x/B.java
package x;
class B {}
== main/y/C.java
package y;
class C {}
""")
    assert edges(found) == set()
    assert edges(found, "reference") == {"main/x/A.java > test/x/B.java"}


def test_what_does_not_resolve_is_counted() -> None:
    found = graph("""
== x/A.java
package x;
import y.B;
import y.Gone;
import java.util.List;
== y/B.java
package y;
public class B {}
== module-info.java
module m {}
""")
    assert found.resolved == {"java": {"relative": 1}}
    assert found.unresolved == {"java": {"package": 1, "relative": 1}}
