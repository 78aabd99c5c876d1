"""Finding flows: ours, those of other packages, and what is said of one that cannot be taken."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_assets.flows import Offered, parts, read

FLOW = """
from ingestion_assets.landing.flows import Flow, Scope

FLOW = Flow(name="{name}", scope=Scope(name="{scope}"{more}), definitions="{module}:made", http="{module}:absent")
made = object()
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def offered(packages: Path, module: str, text: str | None = None, **words: str) -> Offered:
    given = {"name": module, "scope": module, "module": module, "more": ""} | words
    (packages / f"{module}.py").write_text(FLOW.format(**given) if text is None else text, encoding="utf-8")
    return Offered("INGESTION_FLOWS", module)


def test_a_flow_of_another_package_stands_beside_ours(packages: Path) -> None:
    found = read([offered(packages, "notes")])
    assert found.faults == ()
    assert found.foreign == {"notes"}
    assert list(found.flows) == ["conversations", "entities", "modules", "notes"]


def test_named_in_two_places_it_is_one(packages: Path) -> None:
    one = offered(packages, "notes")
    assert read([one, Offered("entry point of notes", "notes:FLOW")]).faults == ()


@pytest.mark.parametrize(
    ("module", "text", "words", "said"),
    [
        (
            "absent_helper",
            "import no_such_module",
            {},
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("no_flow", "FLOW = 7", {}, "it is a int, not a landing.flows.Flow"),
        ("nothing", "", {}, "AttributeError"),
        ("twin", None, {"name": "entities"}, "the name 'entities' is taken"),
        ("shadow", None, {"name": "landing"}, "the name 'landing' is taken"),
        ("spaced", None, {"name": "my notes"}, "its name 'my notes' must be"),
        ("greedy", None, {"scope": "admin"}, "its scope 'admin' is taken"),
        ("same_scope", None, {"scope": "modules"}, "its scope 'modules' is taken"),
        (
            "bad_pattern",
            None,
            {"more": ", of='x', pattern='('"},
            "the pattern of its scope is no regular expression",
        ),
    ],
)
def test_one_that_cannot_be_taken_is_left_out_with_a_sentence_and_harms_no_other(
    packages: Path, module: str, text: str | None, words: dict[str, str], said: str
) -> None:
    found = read([offered(packages, module, text, **words), offered(packages, "notes")])
    assert list(found.flows) == ["conversations", "entities", "modules", "notes"]
    [fault] = found.faults
    assert fault.startswith(f"The flow {module} (INGESTION_FLOWS) is left out: ")
    assert said in fault


def test_a_part_that_cannot_be_loaded_leaves_the_others(packages: Path) -> None:
    found = read([offered(packages, "notes")])
    loaded, [fault] = parts(found, "http", lambda flow, _part: flow.name)
    assert list(loaded) == ["conversations", "entities", "modules"]
    assert fault.startswith("The http of the flow notes (notes:absent) cannot be used: AttributeError: ")
