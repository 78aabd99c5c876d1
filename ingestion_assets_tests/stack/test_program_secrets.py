"""Which program has which secret settings, by the plan."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from ingestion_assets.settings import FlowSettings, Settings
from ingestion_assets.stack.environment_file import as_environment, write_environment
from ingestion_assets.stack.leftovers import MARK
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import PORT_NAMES, plan_stack
from ingestion_assets.stack.program_secrets import SECRETS, withheld
from ingestion_assets.stack.supervision import without
from ingestion_assets_tests.stacks import clean_environment

HAS = {
    "postgres": set(),
    "mongodb": set(),
    "valkey": set(),
    "frontdoor": {
        "admin_token", "dagster_headers", "embedding_endpoints", "kafka_url", "mongodb_url", "postgres_url", "redis_url", "secret_key", "secret_keys", "webserver_password",
    },
    "webserver": {"postgres_url", "redis_url", "webserver_password"},
    "code-server": {"notify_url", "postgres_url", "redis_url"},
    "daemon": {"postgres_url", "redis_url"},
    "worker-default": {"embedding_endpoints", "mongodb_url", "postgres_url", "redis_url"},
    "worker-gpu": {"embedding_endpoints", "mongodb_url", "postgres_url", "redis_url", "secret_key", "secret_keys"},
    "worker-batch": {"embedding_endpoints", "postgres_url", "redis_url", "secret_key", "secret_keys"},
    "code-server-shop": {"mongodb_url", "postgres_url", "redis_url", "secret_key", "secret_keys"},
    "code-watch": {"dagster_headers", "mongodb_url", "postgres_url", "redis_url", "secret_key", "secret_keys", "webserver_password"},
}  # fmt: skip
LANDS = {
    "frontdoor",
    "code-server",
    "code-server-shop",
    "code-watch",
    "worker-default",
    "worker-gpu",
    "worker-batch",
}


def _variables(names: set[str]) -> set[str]:
    return {f"INGESTION_{name.upper()}" for name in names}


def test_every_setting_that_is_a_secret_is_known_as_one() -> None:
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if field.annotation in (SecretStr, SecretStr | None)
    }
    assert secret | {"postgres_url", "mongodb_url", "redis_url"} == SECRETS


def test_each_program_has_the_secrets_that_it_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SOME_API_KEY"}
    for name in foreign:
        monkeypatch.setenv(name, "hidden")
    given = {
        "secret_key": "o" * 32,
        "secret_keys": "k" * 32,
        "api_key": "mine",
        "webserver_password": "sesame",
        "notify_url": "https://hooks.example.com/x",
        "embedding_endpoints": "[]",
        "dagster_headers": '{"Authorization": "Bearer x"}',
        "kafka_url": "kafka://broker.example.com:9092?sasl.password=x",
    }
    plan = plan_stack(
        settings=Settings(home=tmp_path, modules="shop.definitions", **given),  # pyright: ignore
        places=Places(tmp_path), admin_token="token",
        ports={"postgres": 1, "mongodb": 2, "valkey": 3, "code_server": 4, "code-server-shop": 5},
    )  # fmt: skip
    there = _variables(set(SECRETS)) | foreign
    assert _variables(set(SECRETS)) <= plan.environment.keys()
    assert {program.name for program in plan.programs} == HAS.keys()
    for program in plan.programs:
        kept = there - set(program.withheld)
        assert kept & _variables(set(SECRETS)) == _variables(HAS[program.name]), program.name
        assert ("AWS_SECRET_ACCESS_KEY" in kept) == (program.name in LANDS)
        assert ("GITHUB_TOKEN" in kept) == (program.group != "stores")
        assert "PATH" not in program.withheld
        assert MARK not in program.withheld


@pytest.mark.parametrize(
    ("launcher", "has"),
    [("dagster._core.launcher", True), (None, True), ("ingestion_assets.orchestration.launcher", False)],
)
def test_a_code_server_whose_children_are_the_runs_has_what_runs_need(
    tmp_path: Path, launcher: str | None, has: bool
) -> None:
    """With a `dagster.yaml` of the user's own, which as a rule has Dagster's launcher."""
    places = Places(tmp_path)
    places.dagster_home.mkdir(parents=True)
    told = (
        f"run_launcher: {{module: {launcher}, class: Launcher}}\n"
        if launcher
        else "telemetry: {enabled: false}\n"
    )
    (places.dagster_home / "dagster.yaml").write_text(told)
    ports = dict.fromkeys(PORT_NAMES, 1)
    plan = plan_stack(
        settings=Settings(_env_file=None, home=tmp_path), places=places, ports=ports, admin_token="t"
    )
    withheld = {program.name: program.withheld for program in plan.programs}
    assert ("INGESTION_MONGODB_URL" not in withheld["code-server"]) == has
    assert bool(withheld.keys() & {"worker-default", "worker-gpu", "worker-batch"}) != has
    assert "INGESTION_MONGODB_URL" in withheld["daemon"]


def test_a_program_of_the_stack_does_not_read_the_others_secrets_from_the_file(tmp_path: Path) -> None:
    write_environment(tmp_path / "stack.env", {"INGESTION_MONGODB_URL": "mongodb://of-others"})
    script = "from ingestion_assets.settings import load_settings; print(load_settings().mongodb_url)"

    def found(**more: str) -> str:
        return subprocess.run(
            (sys.executable, "-c", script), env=clean_environment(tmp_path) | more, capture_output=True,
            text=True, check=True,
        ).stdout.strip()  # fmt: skip

    assert found() == "mongodb://of-others"
    assert found(**{MARK: str(tmp_path)}) == "None"


def test_what_is_withheld_is_not_in_the_processs_environment() -> None:
    names = ["INGESTION_ADMIN_TOKEN", "WITH SPACE", "NOT_THERE"]
    given = {
        "INGESTION_ADMIN_TOKEN": "token",
        "WITH SPACE": "hidden",
        "PATH": "/usr/bin:/bin",
        "KEPT": "here",
    }
    done = subprocess.run(without(names, ("env",)), env=given, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"PATH=/usr/bin:/bin", "KEPT=here"}
    assert without([], ("env",)) == ("env",)


def test_the_secrets_of_a_flow_are_for_the_front_door_and_the_workers() -> None:
    class Notes(FlowSettings, env_prefix="INGESTION_NOTES_"):
        dsn: SecretStr | None = None
        kinds: tuple[str, ...] = ()

    try:
        given = as_environment(Notes(dsn=SecretStr("hidden"), kinds=("a", "b")))
        assert given == {"INGESTION_NOTES_DSN": "hidden", "INGESTION_NOTES_KINDS": '["a","b"]'}
        kept = {name for name in HAS if "INGESTION_NOTES_DSN" not in withheld(name, given)}
        workers = {"worker-default", "worker-gpu", "worker-batch"}
        assert kept == workers | {"frontdoor", "code-server-shop", "code-watch"}
        assert "INGESTION_NOTES_DSN" not in withheld("code-server", given, runs_in_code_server=True)
        assert withheld("postgres", ["INGESTION_NOTES_KINDS"]) == []
    finally:
        del Notes
        gc.collect()  # it is no flow's settings any more
