"""Finding flows: ours, those of other packages, and what is said of one that cannot be taken."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter

from ingestion_assets.frontdoor.app import OWN
from ingestion_assets.frontdoor.flow_http import ClashError, FlowHttp, told, without_clashes
from ingestion_assets.installed_flows import Offered, parts, read
from ingestion_assets.landing.flows import Flow

PROJECT = Path(__file__).parents[1]
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
    assert list(found.flows) == ["conversations", "documents", "entities", "modules", "repositories", "notes"]


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
    assert list(found.flows) == ["conversations", "documents", "entities", "modules", "repositories", "notes"]
    [fault] = found.faults
    assert fault.startswith(f"The flow {module} (INGESTION_FLOWS) is left out: ")
    assert said in fault


def test_a_part_that_cannot_be_loaded_leaves_the_others(packages: Path) -> None:
    found = read([offered(packages, "notes")])
    loaded, [fault] = parts(found, "http", lambda flow, _part: flow.name)
    assert list(loaded) == ["conversations", "documents", "entities", "modules", "repositories"]
    assert fault.startswith("The http of the flow notes (notes:absent) cannot be used: AttributeError: ")


CLASHING = """
import dagster as dg

from ingestion_assets.landing.flows import Flow

FLOW = Flow(name="clashing", definitions="clashing:made")


@dg.job(name="conversations")
def twin() -> None: ...


made = dg.Definitions(jobs=[twin])
"""
WHOLE = """
import dagster as dg

from ingestion_assets.landing.flows import Flow

FLOW = Flow(name="whole", definitions="whole:make")


def make() -> dg.Definitions:
    @dg.job
    def whole() -> None: ...

    return dg.Definitions(jobs=[whole])
"""


def test_definitions_that_do_not_go_with_the_others_are_left_out_of_the_code_location(tmp_path: Path) -> None:
    (tmp_path / "clashing.py").write_text(CLASHING, encoding="utf-8")
    (tmp_path / "whole.py").write_text(WHOLE, encoding="utf-8")
    code = (
        "from ingestion_assets.definitions import definitions; "
        "print(*sorted(job.name for job in definitions.get_repository_def().get_all_jobs()))"
    )
    environment = {
        **os.environ, "INGESTION_HOME": str(tmp_path / "home"), "INGESTION_FLOWS": "clashing,whole",
        "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))),
    }  # fmt: skip
    done = subprocess.run(
        (sys.executable, "-c", code), env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert {"whole", "conversations", "entities", "modules"} <= set(done.stdout.split())
    assert "The definitions of the flow clashing do not go with the others; it is left out" in done.stderr
    assert "whole" not in done.stderr


def test_what_one_flow_cannot_say_is_left_out_and_none_overrides_another() -> None:
    def fails() -> dict[str, str]:
        raise RuntimeError("not now")

    assert told([lambda: {"one": "first"}, fails, lambda: {"one": "second", "two": "2"}]) == {
        "one": "first",
        "two": "2",
    }


@pytest.mark.parametrize(
    ("field", "command", "own"),
    [
        ("commands", ["up", "--help"], "Start the whole stack"),
        ("senders", ["drupal", "send", "--help"], "Send what is installed on a Drupal site."),
    ],
)
def test_a_command_whose_name_is_taken_is_left_out_with_a_sentence(
    tmp_path: Path, field: str, command: list[str], own: str
) -> None:
    taken, *arguments = command
    text = (
        "from ingestion_assets.landing.flows import Command, Flow\n\n"
        f"COMMANDS = (Command(name='{taken}', module='greedy', help='x'), Command(name='fine', module='greedy', help='Fine.'))\n"
        f"FLOW = Flow(name='greedy', definitions='greedy:made', {field}=COMMANDS)\n"
    )
    (tmp_path / "greedy.py").write_text(text, encoding="utf-8")
    environment = {
        **os.environ, "INGESTION_HOME": str(tmp_path / "home"), "INGESTION_FLOWS": "greedy",
        "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))),
    }  # fmt: skip
    program = (sys.executable, "-m", "ingestion_assets.cli", *arguments)
    done = subprocess.run(program, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"The command {taken} of greedy is left out: the name is taken." in done.stderr
    assert own in done.stdout
    assert "Fine." in done.stdout


@pytest.mark.parametrize("path", ["/health", "/api/v1/tickets", "/docs", "/{anything:path}"])
def test_a_flow_takes_no_address_of_the_front_door(path: str) -> None:
    router = APIRouter()
    router.add_api_route(path, lambda: None, methods=["GET", "POST"])
    with pytest.raises(ClashError, match=r"front door|of others"):
        without_clashes(OWN)(Flow(name="notes"), FlowHttp(routers=[router]))
