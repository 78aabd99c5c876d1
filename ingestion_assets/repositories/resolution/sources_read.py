"""Manifests read without trust, each once, before anything is resolved: what cannot be read, or is no table, is empty, and told."""

import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml

from ingestion_assets.repositories.resolution.tree import name

LARGEST, LARGEST_YAML = 2**18, 2**16
_MOST_DOTS = 100  # in a line of TOML: a key of many parts takes time by their square, or their cube
# Each alternative takes what it started, closed or not: no step back, whatever is in the file.
_COMMENT = re.compile(rb'("(?:[^"\\]++|\\.)*+"?)|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_LAST_COMMA = re.compile(rb'("(?:[^"\\]++|\\.)*+"?)|,(?=\s*+[}\]])', re.DOTALL)
_REPLACE = re.compile(
    r"^[ \t]*+(?:replace[ \t]++)?+\"?([^\s\"]++)\"?(?:[ \t]++v\S++)?+[ \t]*+=>[ \t]*+\"?(\.\.?(?:/[^\s\"]*+)?+)",
    re.MULTILINE,
)
_MODULE = re.compile(r"^[ \t]*+module[ \t]++\"?([^\s\"]++)", re.MULTILINE)

Table = dict[str, Any]
Tables = Mapping[bytes, Table]


def read_all(contents: Mapping[bytes, bytes], go_on: Callable[[], object]) -> tuple[Tables, list[bytes]]:
    """Each manifest as a table, in order of paths, and the paths of those that could not be read; `go_on` may raise between two."""
    tables: dict[bytes, Table] = {}
    unread: list[bytes] = []
    for path in sorted(contents):
        go_on()
        try:
            found = _reader(name(path))(contents[path])
        except Exception:  # anything may be in it, and parsers raise what they like: it costs itself alone
            found = None
        if not isinstance(found, dict):
            unread.append(path)
        tables[path] = table(found)
    return tables, unread


def _reader(called: bytes) -> Callable[[bytes], object]:
    if called == b"go.mod":
        return go_module
    ending = called.rpartition(b".")[2]
    if ending == b"toml" and called != b"pyproject.toml":
        return toml
    return {b"json": json, b"yaml": yaml_text}.get(ending, _that_it_is_there)


def _that_it_is_there(_content: bytes) -> Table:
    return {}


def json(content: bytes) -> object:
    """A JSON document; comments and commas before an end may be in it. Raises `ValueError`, `RecursionError`."""
    content = _bounded(content, LARGEST).removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return msgspec.json.decode(_plain(content))


def _plain(content: bytes) -> bytes:
    for pattern in (_COMMENT, _LAST_COMMA):
        content = pattern.sub(lambda found: found.group(1) or b" ", content)
    return content


def toml(content: bytes) -> Table:
    """A TOML document. Raises `ValueError`, `RecursionError`."""
    if any(line.count(b".") > _MOST_DOTS for line in _bounded(content, LARGEST).split(b"\n")):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots")
    return tomllib.loads(content.decode("utf-8", "replace"))


def yaml_text(content: bytes) -> object:
    """A YAML document whose scalars are all text, whatever type they claim. Raises `yaml.YAMLError`, `ValueError`, `RecursionError`."""
    return yaml.load(_bounded(content, LARGEST_YAML), yaml.BaseLoader)  # noqa: S506 - it makes text, lists and tables only


def go_module(content: bytes) -> Table:
    """Of a go.mod: its `module`, and in `replace` the folders that stand for modules. Raises `ValueError`."""
    text = _bounded(content, LARGEST).decode("utf-8", "replace")
    called = _MODULE.search(text)
    if called is None:
        raise ValueError("it names no module")
    return {"module": called[1], "replace": dict(_REPLACE.findall(text))}


def _bounded(content: bytes, most: int) -> bytes:
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return content


def table(value: object) -> Table:
    """The value, if it is a table."""
    return value if isinstance(value, dict) else {}


def strings(value: object) -> list[str]:
    """The strings of a list, or the one string."""
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
