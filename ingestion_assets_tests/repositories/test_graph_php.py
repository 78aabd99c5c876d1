"""PHP: which files a name or a path leads to."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

COMPOSER = '== composer.json\n{"autoload": {"psr-4": {"App\\\\": "src/"}}, "autoload-dev": {"psr-4": {"App\\\\Tests\\\\": ["tests/"]}}}\n'
CASES = {
    "a class by its namespace": ("""
== lib/Foo.php
<?php
namespace App\\Model;
class Foo {}
== use.php
<?php
use App\\Model\\Foo;
""", "use.php > lib/Foo.php"),
    "the declared name beats PSR-4": (COMPOSER + """
== src/Foo.php
<?php
namespace Elsewhere;
class Foo {}
== legacy/Foo.php
<?php
namespace App;
class Foo {}
== tests/FooTest.php
<?php
namespace App\\Tests;
use App\\Foo;
""", "tests/FooTest.php > legacy/Foo.php"),
    "PSR-4 where nothing is declared": (COMPOSER + """
== src/Deep/Made.php
<?php
eval('class Made {}');
== tests/a.php
<?php
use App\\Deep\\Made;
""", "tests/a.php > src/Deep/Made.php"),
    "the longest prefix of PSR-4": (COMPOSER + """
== tests/Helper.php
<?php
== src/Tests/Helper.php
<?php
== x.php
<?php
use App\\Tests\\Helper;
""", "x.php > tests/Helper.php"),
    "nested namespaces of one class name": ("""
== a/Item.php
<?php
namespace A;
class Item {}
== a/b/Item.php
<?php
namespace A\\B;
class Item {}
== use.php
<?php
use A\\B\\Item;
""", "use.php > a/b/Item.php"),
    "a group, and other names": ("""
== a/One.php
<?php
namespace A;
interface One {}
== a/Two.php
<?php
namespace A;
trait Two {}
== a/b/Three.php
<?php
namespace A\\B;
enum Three {}
== use.php
<?php
use A\\{One, Two as Other, B\\Three};
""", """
use.php > a/One.php
use.php > a/Two.php
use.php > a/b/Three.php
"""),
    "a namespace, of which some is used": ("""
== a/One.php
<?php
namespace A\\Parts;
class One {}
== a/Two.php
<?php
namespace A\\Parts;
class Two {}
== use.php
<?php
use A\\Parts;
new Parts\\One();
""", "use.php > a/One.php"),
    "a function": ("""
== f.php
<?php
namespace Lib;
function helper() {}
== use.php
<?php
use function Lib\\helper;
""", "use.php > f.php"),
    "files that are required": ("""
== inc/a.php
<?php
require __DIR__ . '/b.php';
require_once '../top.php';
include 'inc/c.php';
require 'gone.php';
== inc/b.php
<?php
== inc/c.php
<?php
== top.php
<?php
""", """
inc/a.php > inc/b.php
inc/a.php > top.php
inc/a.php > inc/c.php
"""),
    "others' classes": (COMPOSER + """
== src/Request.php
<?php
namespace App;
class Request {}
== src/Use.php
<?php
namespace App;
use Symfony\\HttpFoundation\\Request;
use Exception;
""", ""),
    "one class in two packages": ("""
== one/src/X.php
<?php
namespace P;
class X {}
== one/use.php
<?php
use P\\X;
== two/src/X.php
<?php
namespace P;
class X {}
== two/use.php
<?php
use P\\X;
""", """
one/use.php > one/src/X.php
two/use.php > two/src/X.php
"""),
    "a cycle": ("""
== A.php
<?php
namespace N\\A;
use N\\B\\B;
class A {}
== B.php
<?php
namespace N\\B;
use N\\A\\A;
class B {}
""", """
A.php > B.php
B.php > A.php
"""),
    "a leading backslash": ("""
== A.php
<?php
namespace N;
class A {}
== use.php
<?php
use \\N\\A;
""", "use.php > A.php"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_files_of_a_namespace_share_names() -> None:
    found = graph("""
== a/A.php
<?php
namespace N;
class A { function f() { return new B(); } }
== b/B.php
<?php
namespace N;
class B {}
== c/C.php
<?php
namespace M;
class C { function f() { return new B(); } }
""")
    assert edges(found, "reference") == {"a/A.php > b/B.php"}


def test_what_does_not_resolve_is_counted() -> None:
    found = graph(
        COMPOSER
        + """
== src/A.php
<?php
namespace App;
use App\\Gone;
use App\\Part\\B;
use App\\OfAnotherPackage\\C;
use Other\\C;
== src/Part/B.php
<?php
namespace App\\Part;
class B {}
"""
    )
    assert found.resolved == {"php": {"relative": 1}}
    assert found.unresolved == {"php": {"package": 2, "relative": 1}}
