"""Python: which files an import leads to."""

import pytest

from ingestion_assets_tests.repositories.graphs import edges, graph, lines

CASES = {
    "a sibling in a package": ("""
== pkg/__init__.py
== pkg/a.py
from .b import f
from . import c
== pkg/b.py
def f(): ...
== pkg/c.py
""", """
pkg/a.py > pkg/b.py
pkg/a.py > pkg/c.py
"""),
    "two levels up": ("""
== pkg/__init__.py
== pkg/util.py
def f(): ...
== pkg/sub/__init__.py
== pkg/sub/deep/__init__.py
== pkg/sub/deep/a.py
from ...util import f
from ..other import g
== pkg/sub/other.py
def g(): ...
""", """
pkg/sub/deep/a.py > pkg/util.py
pkg/sub/deep/a.py > pkg/sub/other.py
"""),
    "more levels than there are": ("""
== pkg/__init__.py
== pkg/a.py
from ....b import f
== b.py
def f(): ...
""", ""),
    "src layout, from tests": ("""
== pyproject.toml
== src/app/__init__.py
== src/app/core.py
class Core: ...
== tests/test_core.py
from app.core import Core
import app.core as core
import pytest
""", "tests/test_core.py > src/app/core.py"),
    "a name handed on by a package": ("""
== pkg/__init__.py
from ._impl import Client
from .errors import *
== pkg/_impl.py
class Client: ...
== pkg/errors.py
class Refused(Exception): ...
== use.py
from pkg import Client, Refused
""", """
pkg/__init__.py > pkg/_impl.py
pkg/__init__.py > pkg/errors.py
use.py > pkg/__init__.py
use.py > pkg/_impl.py
use.py > pkg/errors.py
"""),
    "a package taken whole, and used": ("""
== pkg/__init__.py
from ._impl import Client
from ._other import other
== pkg/_impl.py
class Client: ...
== pkg/_other.py
def other(): ...
== use.py
import pkg
pkg.Client()
""", """
pkg/__init__.py > pkg/_impl.py
pkg/__init__.py > pkg/_other.py
use.py > pkg/__init__.py
use.py > pkg/_impl.py
"""),
    "handed on through two packages": ("""
== top/__init__.py
from .mid import thing
== top/mid/__init__.py
from .low import thing
== top/mid/low.py
def thing(): ...
== use.py
from top import thing
""", """
top/__init__.py > top/mid/__init__.py
top/__init__.py > top/mid/low.py
top/mid/__init__.py > top/mid/low.py
use.py > top/__init__.py
use.py > top/mid/low.py
"""),
    "the same stem elsewhere": ("""
== a/__init__.py
== a/utils.py
def f(): ...
== b/__init__.py
== b/utils.py
def f(): ...
== b/use.py
from b.utils import f
import utils
""", "b/use.py > b/utils.py"),
    "another's package by the name of a module in a package": ("""
== app/__init__.py
== app/requests.py
class Request: ...
== app/json.py
== app/use.py
import requests
import json
from logging import getLogger
== app/logging.py
""", ""),
    "a folder without __init__": ("""
== space/part/mod.py
def f(): ...
== use.py
from space.part.mod import f
from space.part import mod
from space import part
""", "use.py > space/part/mod.py"),
    "scripts side by side": ("""
== tools/one.py
import two
== tools/two.py
""", "tools/one.py > tools/two.py"),
    "two projects, each with its own package of one name": ("""
== one/pyproject.toml
== one/src/common/__init__.py
== one/src/common/base.py
class Base: ...
== one/src/app/__init__.py
== one/src/app/use.py
from common.base import Base
== two/pyproject.toml
== two/src/common/__init__.py
== two/src/common/base.py
class Base: ...
== two/src/app2/__init__.py
== two/src/app2/use.py
from common.base import Base
""", """
one/src/app/use.py > one/src/common/base.py
two/src/app2/use.py > two/src/common/base.py
"""),
    "a cycle, also of what is handed on": ("""
== p/__init__.py
from .a import *
from .b import missing
== p/a.py
from p.b import *
from p import missing
== p/b.py
from p.a import *
""", """
p/__init__.py > p/a.py
p/__init__.py > p/b.py
p/a.py > p/b.py
p/a.py > p/__init__.py
p/b.py > p/a.py
"""),
    "a module inside a function, under a condition, over several lines": ("""
== p/__init__.py
== p/a.py
def f():
    from p import (
        b,
        c as d,
    )
try:
    import p.e
except ImportError:
    p = None
== p/b.py
== p/c.py
== p/e.py
""", """
p/a.py > p/b.py
p/a.py > p/c.py
p/a.py > p/e.py
"""),
    "a stub beside its module": ("""
== p/__init__.py
== p/a.py
def f(): ...
== p/a.pyi
def f() -> None: ...
== p/only.pyi
def g() -> None: ...
== p/use.py
from .a import f
from .only import g
""", """
p/use.py > p/a.py
p/use.py > p/only.pyi
"""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_imports_lead_to_files(case: str) -> None:
    tree, expected = CASES[case]
    assert edges(graph(tree)) == lines(expected)


def test_what_does_not_resolve_is_counted_and_makes_no_edge() -> None:
    found = graph("""
== p/__init__.py
== p/a.py
from .b import f
from .gone import g
import numpy
import os
== p/b.py
def f(): ...
""")
    assert found.resolved == {"python": {"relative": 1}}
    assert found.unresolved == {"python": {"package": 2, "relative": 1}}
    assert found.unresolved_relative() == {"python": 0.5}


def test_references_and_calls_go_to_imported_files_alone() -> None:
    found = graph("""
== p/__init__.py
== p/a.py
from p.b import f
def own(): ...
f(LIMIT)
own()
elsewhere()
== p/b.py
LIMIT = 3
def f(): ...
def own(): ...
== p/c.py
def elsewhere(): ...
""")
    assert edges(found, "reference") == edges(found, "call") == {"p/a.py > p/b.py"}
    names = {one.kind: (one.names, one.weight) for one in found.edges}
    assert names == {"import": (("f",), 1.0), "reference": (("LIMIT", "f"), 2.0), "call": (("f",), 1.0)}
