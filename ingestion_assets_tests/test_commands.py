"""Every command: what is wrong around it is a sentence and a documented exit status, and what it lists can be had as JSON."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
import typer
import uuid_utils.compat

from ingestion_assets import cli, installed_flows, settings
from ingestion_assets.command_output import in_utc, print_table
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.rejects import insert_rejects
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.stack.environment_file import write_environment
from ingestion_assets.stack.home_lock import locked
from ingestion_assets.stack.places import Places
from ingestion_assets.stores import postgres
from ingestion_assets.stores.postgres import driver_url

ARGUMENTS = {
    "paths": ["x"], "receipt_id": ["01"], "reject_id": ["01"], "name": ["x"], "site": ["1"], "repository": ["github.com/o/n"],
    "path": ["x"], "question": ["x"], "host": ["git.example.com"], "programs": [],
}  # fmt: skip
MORE = {"rejects redrive": ["--all"], "rejects discard": ["--all"], "documents connect": ["--path", "x"]}
OPTIONS = {"scope": ["--scope", "read"], "credential": ["--credential", "u:t"]}
STARTS = {"up", "demo"}
PRINTS_NO_LIST = {
    "up", "down", "logs", "demo", "env", "drops resume", "rejects redrive", "rejects discard",
    "segments discard", "keys create", "keys revoke", "sites create", "sites rotate-key", "entities check", "entities ddl",
    "entities docs", "entities schema", "repos submit", "repos watch", "repos delete", "repos demo", "repos credentials set",
    "repos credentials delete", "documents control", "documents demo", "secrets rotate", "zones remove",
}  # fmt: skip


def _leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        command = command._real() if hasattr(command, "_real") else command
        if hasattr(command, "list_commands"):
            yield from _leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(_leaves(typer.main.get_command(cli.app)))
FED = {name for name in COMMANDS if not name.startswith("send ")} - {"zones send"}


def _arguments(name: str) -> list[str]:
    command = COMMANDS[name]
    given: list[str] = list(MORE.get(name, ()))
    for parameter in command.params:
        if isinstance(parameter, click.Argument) or parameter.param_type_name == "argument":
            given += ARGUMENTS.get(parameter.name, ["x"]) if parameter.required else []
        elif parameter.required:
            given += OPTIONS[parameter.name]
    return given


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs `ingestion …` in this process, in an empty home; gives exit status, output and errors."""
    caches: tuple[Any, ...] = (
        settings.load_settings, settings.read_flow_settings, installed_flows.installed, postgres.engine
    )  # fmt: skip

    def forget() -> None:  # not `environment`: that reads the settings, which here are wrong
        for cache in caches:
            cache.cache_clear()

    def call(*words: str, **variables: str) -> tuple[int, str, str]:
        for name in [name for name in os.environ if name.startswith("INGESTION_")]:
            monkeypatch.delenv(name)
        for name, value in {"INGESTION_HOME": str(tmp_path / "home"), **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["ingestion", *words])
        forget()
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    yield call
    forget()


@pytest.mark.parametrize("name", sorted(FED))
def test_a_wrong_setting_is_a_sentence(run: Callable[..., tuple[int, str, str]], name: str) -> None:
    status, out, errors = run(*name.split(), *_arguments(name), INGESTION_PORT="abc")
    if status == 0:
        assert name in {"entities schema", "settings"}, "it needs none"
        return
    assert (status, out) == (2, "")
    assert errors.startswith("ingestion: INGESTION_PORT: ")
    assert "abc" not in errors


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PORT", "99999"), ("WEBSERVER_PORT", "0"), ("MAX_BODY_BYTES", "-1"), ("MAX_DECODED_BYTES", "0"), ("MAX_INFLIGHT_BYTES", "0"),
        ("MAX_JSON_DEPTH", "0"), ("BODY_TIMEOUT_S", "0"), ("DRAIN_S", "-1"), ("CLAIM_MAX_BYTES", "0"), ("LEASE_S", "0"), ("HEARTBEAT_S", "0"),
    ],
)  # fmt: skip
def test_a_number_that_nothing_can_work_with_is_a_sentence(
    run: Callable[..., tuple[int, str, str]], setting: str, value: str
) -> None:
    status, out, errors = run("down", **{f"INGESTION_{setting}": value})
    assert (status, out) == (2, "")
    assert errors.startswith(f"ingestion: INGESTION_{setting}: Input should be ")


@pytest.mark.parametrize("name", sorted(FED - STARTS))
def test_a_stack_that_does_not_run_is_a_sentence(run: Callable[..., tuple[int, str, str]], name: str) -> None:
    status, out, errors = run(*name.split(), *_arguments(name))
    assert status in {0, 1, 2, 3}
    assert "Traceback" not in errors
    assert status == 0 or (out + errors).strip()


ASKS_THE_FRONT_DOOR = sorted(
    name
    for name in FED - {"documents demo"}  # which asks nobody where no folder is open
    if any(
        str(getattr(one, "help", "")).startswith("Address of the front door") for one in COMMANDS[name].params
    )
)
assert {"repos status", "zones show", "documents jobs"} <= set(ASKS_THE_FRONT_DOOR), (
    "its options say so in other words"
)


@pytest.mark.parametrize("name", [*ASKS_THE_FRONT_DOOR, "rejects redrive"])
def test_a_front_door_that_cannot_be_asked_is_that_of_this_stack(
    run: Callable[..., tuple[int, str, str]], name: str
) -> None:
    """The name that people know it by is no matter of commands."""
    own = {"INGESTION_HOST": "::1", "INGESTION_PORT": "1", "INGESTION_PUBLIC_URL": "http://127.0.0.1:2"}
    status, _, errors = run(*name.split(), *_arguments(name), **own)
    assert status == 2
    assert "http://[::1]:1 " in errors


@pytest.mark.parametrize("name", [name for name in ASKS_THE_FRONT_DOOR if name != "repos demo"])
def test_an_address_that_is_none_is_a_sentence(run: Callable[..., tuple[int, str, str]], name: str) -> None:
    for address in ("http://:::1", "http://[x"):
        status, _, errors = run(*name.split(), *_arguments(name), "--url", address)
        assert status == 2
        assert "it is no address" in errors


@pytest.mark.parametrize("name", sorted(FED - STARTS - {"repos demo"}))
def test_a_database_that_does_not_answer_is_a_sentence(
    run: Callable[..., tuple[int, str, str]], name: str
) -> None:
    url = "postgresql://u:secret-word@127.0.0.1:1/none"
    status, out, errors = run(*name.split(), *_arguments(name), INGESTION_POSTGRES_URL=url)
    assert status in {0, 1, 2, 3}
    assert "secret-word" not in out + errors
    told = ("PostgreSQL does not answer", "cannot be asked", "Usage")
    assert status != 2 or any(one in errors for one in told)


@pytest.mark.parametrize("name", sorted(FED - PRINTS_NO_LIST))
def test_what_a_command_shows_can_be_had_as_json(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert "--json" in options


def test_the_list_of_commands_without_json_names_no_other() -> None:
    assert COMMANDS.keys() >= PRINTS_NO_LIST


@pytest.fixture
def rejected(fresh_postgres_url: str) -> tuple[str, list[str]]:
    """Two payloads with a reject each; the receipts' ids."""
    drops = [
        NewDrop(flow="entities", partition="2026-02-01", lane="2026-02-01", principal="p", body=b"x", records=1, attributes={})
        for _ in range(2)
    ]  # fmt: skip
    ids = [uuid_utils.compat.uuid7() for _ in drops]
    packed = [
        pack(drop, drop_id=one, received_at=datetime.now(UTC)) for drop, one in zip(drops, ids, strict=True)
    ]
    engine = sa.create_engine(driver_url(fresh_postgres_url, "psycopg"))
    with engine.begin() as connection:
        register(connection, [Landed("segment", entry) for entry in encode(packed, "segment")[1]])
        outcomes = [
            DropOutcome(one, {}, rejects=[Reject(0, "invalid", "code", "a reason " * 20, b"x")])
            for one in ids
        ]
        insert_rejects(connection, dict.fromkeys(ids, "entities"), outcomes)
    engine.dispose()
    return fresh_postgres_url, [str(one) for one in ids]


def test_ids_that_were_listed_can_be_shown_by_a_prefix(
    run: Callable[..., tuple[int, str, str]], rejected: tuple[str, list[str]]
) -> None:
    url, ids = rejected
    status, listed, _ = run("receipts", "list", INGESTION_POSTGRES_URL=url, COLUMNS="80")
    assert status == 0
    assert all(one in listed for one in ids)
    shared = next(place for place in range(36) if ids[0][place] != ids[1][place])
    status, shown, _ = run("receipts", "show", ids[0][: shared + 1], INGESTION_POSTGRES_URL=url)
    assert (status, json.loads(shown)["id"]) == (0, ids[0])
    line = run("receipts", "show", ids[0], "--json", "--records", INGESTION_POSTGRES_URL=url)[1]
    assert [json.loads(one)["id"] for one in line.splitlines()] == [ids[0]]
    status, _, errors = run("receipts", "show", ids[0][:8], INGESTION_POSTGRES_URL=url)
    assert status == 1
    assert errors.startswith(f"Several ids of a receipt begin with {ids[0][:8]}: ")
    status, _, errors = run("receipts", "show", "ffff", INGESTION_POSTGRES_URL=url)
    assert (status, errors) == (1, "There is no receipt ffff; `ingestion receipts list` shows them.\n")
    assert run("receipts", "show", "x-y", INGESTION_POSTGRES_URL=url)[0] == 1

    of = ("--receipt", ids[1])
    status, lines, _ = run("rejects", "list", "--json", *of, INGESTION_POSTGRES_URL=url)
    (reject,) = map(json.loads, lines.splitlines())
    assert (status, reject["receipt"]) == (0, ids[1])
    status, shown, _ = run("rejects", "show", reject["id"], INGESTION_POSTGRES_URL=url)
    assert (status, json.loads(shown)["id"]) == (0, reject["id"])
    line = run("rejects", "show", reject["id"], "--json", INGESTION_POSTGRES_URL=url)[1]
    assert [json.loads(one)["id"] for one in line.splitlines()] == [reject["id"]]
    assert run("rejects", "discard", reject["id"], INGESTION_POSTGRES_URL=url)[1] == "1 deleted.\n"
    assert run("rejects", "list", *of, INGESTION_POSTGRES_URL=url)[1].count("\n") == 1, "the heads alone"


@pytest.mark.parametrize(
    "name",
    ["receipts list", "rejects list", "rejects discard", "rejects redrive", "drops waiting", "drops resume"],
)
def test_a_flow_that_nothing_is_known_of_is_told(
    run: Callable[..., tuple[int, str, str]], rejected: tuple[str, list[str]], name: str
) -> None:
    url, _ = rejected
    sentence = "There is nothing of a flow entites, but of entities.\n"
    assert (
        sentence in run(*name.split(), "--flow", "entites", INGESTION_POSTGRES_URL=url, INGESTION_PORT="1")[2]
    )
    assert (
        "There is nothing"
        not in run(*name.split(), "--flow", "entities", INGESTION_POSTGRES_URL=url, INGESTION_PORT="1")[2]
    )


def test_the_sample_of_a_machine_without_git_is_a_sentence(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    told = (1, "", "ingestion: git: this program is not installed\n")
    assert run("repos", "demo", PATH=str(tmp_path)) == told


def test_cells_are_whole_and_do_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "why"), [("0" * 200, "\x1b[2J[red]wrong")])
    head, line = capsys.readouterr().out.splitlines()
    assert head == f"{'id':<200}  why"
    assert line == "0" * 200 + "  \N{REPLACEMENT CHARACTER}[2J[red]wrong"


@pytest.mark.parametrize(
    "words",
    [
        ("rejects", "discard", "--kind", "invald"), ("rejects", "list", "--hours", "99999999"), ("receipts", "list", "--state", "finished"),
        ("keys", "create", "k", "--scope", "read", "--days", "9999999"), ("retention", "--days", "9999999"),
    ],
)  # fmt: skip
def test_options_that_can_be_none_are_refused(
    run: Callable[..., tuple[int, str, str]], postgres_url: str, words: tuple[str, ...]
) -> None:
    status, out, errors = run(*words, INGESTION_POSTGRES_URL=postgres_url)
    assert (status, out) == (2, "")
    assert words[-2] in errors


def test_the_environment_of_a_stack_that_was_killed_is_not_given_out(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    left = Places(tmp_path / "home").environment
    left.parent.mkdir(parents=True)
    write_environment(left, {"INGESTION_PORT": "1"})
    status, out, errors = run("env")
    assert (status, out) == (3, "")
    assert "no stack runs" in errors


def test_a_second_stack_of_a_home_leaves_the_log_of_the_first(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    places = Places(tmp_path / "home")
    places.create()
    (places.logs / "up.log").write_text("of the first")
    with locked(places):
        status, _, errors = run("up", "--detach")
    assert status == 1
    assert "a stack already runs in" in errors
    assert (places.logs / "up.log").read_text() == "of the first"


def test_times_are_shown_in_utc() -> None:
    assert in_utc("2026-01-31T19:00:00.5+09:00") == in_utc("2026-01-31T10:00:00Z") == "2026-01-31 10:00:00"


def test_a_variable_that_is_no_setting_is_told(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    wrong = {"INGESTION_WORKRES_DEFAULT": "3", "INGESTION_QQQ": "1"}
    told = [
        "INGESTION_QQQ is no setting",
        "INGESTION_WORKRES_DEFAULT is no setting; INGESTION_WORKERS_DEFAULT is one",
    ]
    _, out, _ = run("doctor", "--json", **wrong)
    (found,) = (one["found"] for one in map(json.loads, out.splitlines()) if one["what"] == "settings")
    assert set(told) <= set(found.split(", "))
    status, _, errors = run("up", **wrong, INGESTION_HOME=str(tmp_path / "file"))
    assert status == 1
    assert all(f"ingestion up: {one}\n" in errors for one in told)


def test_the_doctor_writes_where_segments_go(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "home" / "landing").mkdir(parents=True)

    def found() -> list[str]:
        _, out, _ = run("doctor", "--json")
        return [
            one["result"] for one in map(json.loads, out.splitlines()) if one["what"] == "landing storage"
        ]

    assert found() == ["ok"]
    (tmp_path / "home" / "landing" / "segments").write_text("in the way")
    assert found() == ["fault"]


def test_the_doctor_says_how_to_mend(
    run: Callable[..., tuple[int, str, str]], fresh_postgres_url: str
) -> None:
    status, out, _ = run("doctor", "--json")
    findings = {one["what"]: one for one in map(json.loads, out.splitlines())}
    assert (status, findings["stack"]["result"]) == (1, "fault")
    assert "ingestion up" in findings["stack"]["mend"]
    status, out, _ = run(
        "doctor", "--json", INGESTION_POSTGRES_URL=fresh_postgres_url, INGESTION_REDIS_URL="redis://127.0.0.1:1/"
    )  # fmt: skip
    findings = {one["what"]: one for one in map(json.loads, out.splitlines())}
    assert [findings[name]["result"] for name in ("versions", "flows", "PostgreSQL", "clocks", "schema", "Redis")] == [
        *["ok"] * 5, "fault",
    ]  # fmt: skip
    assert "INGESTION_REDIS_URL" in findings["Redis"]["mend"]
    status, out, _ = run("doctor")
    assert status == 1
    assert "stack: start it with `ingestion up`" in out
