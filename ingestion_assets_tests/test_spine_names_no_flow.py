"""The spine serves flows and names none: what is a flow's alone lies in its folder and is said by its `Flow`."""

import ast
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingestion_assets
from ingestion_assets.installed_flows import BUILT_IN, all_flows
from ingestion_assets.settings import FlowSettings, Settings

PACKAGE = Path(ingestion_assets.__file__).parent
SPINE = ("landing", "frontdoor", "orchestration", "sending", "stores", "stack", "webserver")
ALONE = ("cli.py", "demo.py", "subcommands.py")
BEFORE = PACKAGE / "stores" / "migrations" / "versions"
"""Revisions of the time when flows did not bring their own; what is applied is not rewritten."""
FLOWS = sorted(reference.split(".")[1] for reference in BUILT_IN)
COMMON = ("documents", "modules")
"""MongoDB's word and Python's too: as text they count where they can only be the flow's, whole or with its colon."""
WORDS = [
    *(name for name in FLOWS if name not in COMMON),
    "conversation",
    r"drupal\w*",
    r"claude\w*",
    "transcripts?",
    "tpch",
]
NAMES = re.compile(rf"\b({'|'.join(WORDS)})\b|(?<=[\"'`])({'|'.join(COMMON)})(?=[\"'`:/.])", re.IGNORECASE)
IMPORTS = re.compile(rf"ingestion_assets\.({'|'.join(FLOWS)})\b")


def _sources() -> list[Path]:
    found = [
        path
        for room in SPINE
        for ending in ("*.py", "*.yaml", "*.sql")
        for path in (PACKAGE / room).rglob(ending)
    ]
    return sorted([path for path in found if BEFORE not in path.parents] + [PACKAGE / name for name in ALONE])


def named_in(text: str) -> Iterator[str]:
    """The lines that name a flow."""
    for number, line in enumerate(text.splitlines(), 1):
        if NAMES.search(line) or IMPORTS.search(line):
            yield f"{number}: {line.strip()}"


def imported_in(source: str) -> Iterator[str]:
    """The flows' modules that Python code imports."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{one.name}" for one in node.names]
        yield from (name for name in names if IMPORTS.match(name))


def test_there_is_something_to_look_at() -> None:
    assert {*COMMON, "conversations", "entities"} <= set(FLOWS)
    assert len(_sources()) > 80


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_of_the_spine_names_no_flow(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert list(named_in(text)) == []
    if path.suffix == ".py":
        assert list(imported_in(text)) == []


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - {"claude_config_dir"}))
def test_a_setting_of_the_spine_names_no_flow(name: str) -> None:
    """What one flow alone asks for is a setting of its own; the exception is the sender's, which is no part of the spine."""
    assert list(named_in(f"{name.replace('_', ' ')}: {Settings.model_fields[name].description}")) == []


@pytest.mark.parametrize("name", FLOWS)
def test_the_settings_of_a_flow_lie_with_it(name: str) -> None:
    kind = pkgutil.resolve_name(str(all_flows()[name].settings))
    assert issubclass(kind, FlowSettings)
    assert kind.__module__ == f"ingestion_assets.{name}.settings"
    assert not kind.model_fields.keys() & Settings.model_fields.keys()


@pytest.mark.parametrize(
    "line",
    [
        'if receipt.flow == "modules":',
        "WHERE flow = 'entities' AND state = 'landed'",
        'help="conversations, modules:<site>"',
        "from ingestion_assets import conversations",
        "import ingestion_assets.modules.flow",
        'MODULES = ("ingestion_assets.modules.work",)',
        "CLAUDE_DIR = 1",
        'work = load("modules.work")',
    ],
)
def test_the_contract_sees_what_it_is_there_for(line: str) -> None:
    assert list(named_in(line))


@pytest.mark.parametrize(
    "code",
    ["from ingestion_assets import modules", "def f():\n    from ingestion_assets.modules.flow import NAME"],
)
def test_it_sees_imports_of_a_flow_that_is_called_like_a_word(code: str) -> None:
    assert list(imported_in(code))
