"""What a stack consists of, by its settings."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from dagster._core.instance import InstanceRef
from pydantic import ValidationError

from ingestion_assets.own_modules import module_of_project
from ingestion_assets.settings import Settings, wrong_settings
from ingestion_assets.stack.environment_file import read_environment, shell_exports, write_environment
from ingestion_assets.stack.own_locations import port_names, write_workspace
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import (
    CONFIGURATION,
    StackPlan,
    install_dagster_configuration,
    plan_stack,
    stop_order,
)
from ingestion_assets.stack.program_logs import LogTail
from ingestion_assets.stack.supervision import configuration
from ingestion_assets.webserver.guard import Rules, check
from ingestion_assets_tests.environment import environment

PORTS = {"postgres": 21001, "mongodb": 21002, "valkey": 21003, "code_server": 21004}


def _plan(home: Path, **settings: object) -> StackPlan:
    return plan_stack(
        settings=Settings(home=home, **settings),  # pyright: ignore
        places=Places(home), ports=PORTS, admin_token="token",
    )  # fmt: skip


def test_without_urls_all_three_servers_are_started(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    assert [server.name for server in plan.servers] == ["postgres", "mongodb", "valkey"]
    assert {program.name for program in plan.programs} >= {"frontdoor", "webserver", "daemon", "worker-gpu"}


def test_a_given_url_is_used_and_its_server_not_started(tmp_path: Path) -> None:
    plan = _plan(tmp_path, postgres_url="postgresql://me:secret@db.example:5432/mine", workers_gpu=0)
    assert [server.name for server in plan.servers] == ["mongodb", "valkey"]
    assert plan.environment["INGESTION_POSTGRES_URL"] == "postgresql://me:secret@db.example:5432/mine"
    assert "postgres" not in {program.name for program in plan.programs}
    assert "worker-gpu" not in {program.name for program in plan.programs}


@pytest.mark.parametrize(("drain_s", "over_s"), [(2.5, 13.5), (60.0, 70.5)])
def test_the_stack_leaves_its_workers_the_time_that_their_runs_get(
    tmp_path: Path, drain_s: float, over_s: float
) -> None:
    plan = _plan(tmp_path, worker_drain_s=drain_s)
    workers = [program for program in plan.programs if program.name.startswith("worker-")]
    assert len(workers) == 3
    for worker in workers:
        assert worker.command[worker.command.index("--drain") + 1] == str(drain_s)
        assert worker.stop_s > drain_s
    until = dict(stop_order(plan.programs))
    assert until["dagster"] - until["frontdoor"] > max(worker.stop_s for worker in workers)
    assert until["stores"] == over_s


def test_the_address_of_our_own_server_is_not_taken_for_a_given_one(tmp_path: Path) -> None:
    own = _plan(tmp_path).environment["INGESTION_REDIS_URL"]
    assert "valkey" in {server.name for server in _plan(tmp_path, redis_url=own).servers}


def test_no_secret_is_written_into_the_supervisors_configuration(tmp_path: Path) -> None:
    plan = _plan(tmp_path, admin_token="very-secret")
    text = configuration(plan.programs, socket_path=tmp_path / "s", folder=tmp_path, logs=tmp_path, user=None)
    passwords = [url.split("@")[0].rsplit(":", 1)[1] for url in plan.urls.values() if "@" in url]
    assert len(passwords) == 3
    assert not [secret for secret in [*passwords, "very-secret"] if secret in text]


def test_commands_find_the_settings_that_the_stack_was_given(tmp_path: Path) -> None:
    given = {"landing_url": "s3://bucket", "secret_keys": "k" * 32, "log_json": True}
    plan = _plan(tmp_path, **given, port=8123)
    write_environment(tmp_path / "stack.env", plan.environment)
    found = Settings(_env_file=tmp_path / "stack.env")  # pyright: ignore
    assert {**found.model_dump(include=set(given)), "secret_keys": "k" * 32} == given
    assert found.secret_keys is not None
    assert found.secret_keys.get_secret_value() == "k" * 32
    assert found.port == 8123
    assert "INGESTION_ENTITIES" not in plan.environment


def test_the_settings_of_flows_reach_the_stack_under_their_names(tmp_path: Path) -> None:
    with environment(INGESTION_CONVERSATION_LANES=4):
        assert _plan(tmp_path).environment["INGESTION_CONVERSATION_LANES"] == "4"
    with environment(INGESTION_CONVERSATION_LANES=65), pytest.raises(ValidationError) as wrong:
        _plan(tmp_path)
    assert wrong_settings(wrong.value) == (
        "INGESTION_CONVERSATION_LANES: Input should be less than or equal to 64"
    )


@pytest.mark.parametrize("value", ["plain", "with 'quotes' and $HOME", 'back\\slash "x" #no comment', "ü%20"])
def test_environment_file_round_trip(tmp_path: Path, value: str) -> None:
    path = tmp_path / "stack.env"
    write_environment(path, {"A": value, "B": "b"})
    assert read_environment(path) == {"A": value, "B": "b"}
    assert path.stat().st_mode & 0o077 == 0
    assert shell_exports({"B": "b c"}) == "export B='b c'"


def test_a_long_home_still_has_a_socket_that_can_be_bound(tmp_path: Path) -> None:
    short, long = Places(tmp_path), Places(tmp_path / ("x" * 90))
    assert short.supervisor_socket.is_relative_to(tmp_path)
    assert len(str(long.supervisor_socket)) < 95
    assert long.supervisor_socket != Places(tmp_path / ("y" * 90)).supervisor_socket


def test_a_dagster_yaml_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.dagster_home.mkdir()
    settings = Settings(home=tmp_path)
    install_dagster_configuration(settings, places)
    assert yaml.safe_load((places.dagster_home / "dagster.yaml").read_text(encoding="utf-8"))[
        "run_monitoring"
    ]
    (places.dagster_home / "dagster.yaml").unlink()
    (places.dagster_home / "dagster.yaml").write_text("mine: 1", encoding="utf-8")
    install_dagster_configuration(settings, places)
    assert (places.dagster_home / "dagster.yaml").read_text(encoding="utf-8") == "mine: 1"


def test_runs_of_dagsters_own_need_no_workers_and_nothing_else_differs(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.dagster_home.mkdir()
    settings = Settings(home=tmp_path, launcher="dagster")
    install_dagster_configuration(settings, places)
    own = yaml.safe_load((places.dagster_home / "dagster.yaml").read_text(encoding="utf-8"))
    ours = yaml.safe_load((CONFIGURATION / "dagster.yaml").read_text(encoding="utf-8"))
    assert {name for name, said in ours.items() if own[name] != said} == {
        "run_launcher",
        "run_coordinator",
        "run_monitoring",
        "concurrency",
    }
    assert own["run_launcher"] == {"module": "dagster", "class": "DefaultRunLauncher"}
    InstanceRef.from_dir(str(places.dagster_home))  # raises where Dagster does not take it
    programs = {program.name for program in _plan(tmp_path, launcher="dagster").programs}
    assert not {name for name in programs if name.startswith("worker-")}
    assert Settings(home=tmp_path, launcher="dagster", workers_gpu=0).idle_queues == frozenset()


def test_modules_of_the_users_own_get_a_code_server_each_in_their_folder(tmp_path: Path) -> None:
    modules = "shop.definitions:defs, books=other.code"
    settings = Settings(home=tmp_path, modules=modules, project=tmp_path / "project")
    ports = PORTS | dict.fromkeys(port_names(settings), 21005)
    places = Places(tmp_path)
    places.run.mkdir()
    plan = plan_stack(settings=settings, places=places, ports=ports, admin_token="token")
    programs = {program.name: program for program in plan.programs}
    shop = programs["code-server-shop"]
    assert shop.folder == tmp_path / "project"
    assert "--module-name shop.definitions --attribute defs" in " ".join(shop.command)
    assert {"code-server-books", "code-watch"} <= programs.keys()
    for program in ("webserver", "daemon"):
        assert str(places.own_workspace) in programs[program].command
    write_workspace(places, settings=settings, ports=ports)
    servers = yaml.safe_load(places.own_workspace.read_text(encoding="utf-8"))["load_from"]
    assert [one["grpc_server"]["location_name"] for one in servers] == ["shop", "books"]


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ("shop/definitions.py", "names no module"),
        ("shop.a,shop.b", "2 modules would be the code location shop"),
        ("ingestion_assets.definitions", "cannot be the name"),
    ],
)
def test_modules_that_cannot_run_are_refused_in_a_sentence(tmp_path: Path, modules: str, why: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        Settings(home=tmp_path, modules=modules)
    said = wrong_settings(wrong.value)
    assert said is not None
    assert said.startswith("INGESTION_MODULES: ")
    assert why in said


@pytest.mark.parametrize(
    ("told", "module"),
    [
        ('[tool.dg.project]\nroot_module = "shop"\n', "shop.definitions"),
        ('[tool.dg.project]\nroot_module = "shop"\ncode_location_target_module = "shop.main"\n', "shop.main"),
        ('[tool.dagster]\nmodule_name = "shop.defs"\ncode_location_name = "books"\n', "books=shop.defs"),
        ('[tool.dg.project]\nroot_module = "ingestion_assets"\n', None),
        ("[project]\nname = 'shop'\n", None),
        ("not TOML", None),
    ],
)
def test_a_project_says_what_of_it_runs(tmp_path: Path, told: str, module: str | None) -> None:
    (tmp_path / "pyproject.toml").write_text(told, encoding="utf-8")
    assert module_of_project(tmp_path) == module
    assert module_of_project(tmp_path / "elsewhere") is None


def test_the_repository_shows_the_packages_own_configuration() -> None:
    root = CONFIGURATION.parent.parent
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (root / name).resolve() == CONFIGURATION / name


def test_a_log_is_followed_across_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("old\n", encoding="utf-8")
    tail = LogTail(path)
    with path.open("a", encoding="utf-8") as file:
        file.write("one\ntw")
    assert tail.new_lines() == ["one"]
    with path.open("a", encoding="utf-8") as file:
        file.write("o\n")
    assert tail.new_lines() == ["two"]
    path.rename(tmp_path / "x.log.1")
    path.write_text("three\n", encoding="utf-8")
    assert tail.new_lines() == ["three"]
    assert tail.new_lines() == []


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.2", "10.0.0.2")],  # noqa: S104
)
def test_a_machine_reaches_itself_whatever_it_listens_on(tmp_path: Path, host: str, reached: str) -> None:
    settings = Settings(home=tmp_path, host=host)  # pyright: ignore[reportCallIssue]
    assert (settings.front_door_url, settings.dagster_url) == (
        f"http://{reached}:8080",
        f"http://{reached}:3000",
    )
    asked = f"{reached}:3000".encode()
    headers = [(b"host", asked), (b"content-type", b"application/json")]
    check(
        {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
        },
        Rules.of(settings),
    )
    assert httpx.URL(settings.dagster_url).host == settings.reached_at


def test_a_proxy_that_the_environment_names_is_not_asked_for_code_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy"):  # which gRPC reads before those
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "git.example.com")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        no_proxy = _plan(tmp_path).environment["no_grpc_proxy"]
        assert no_proxy.split(",")[0] == "git.example.com"
        monkeypatch.setenv("no_grpc_proxy", no_proxy)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=10)
    finally:
        server.stop(None)


def test_links_begin_with_the_addresses_that_people_know(tmp_path: Path) -> None:
    own = Settings(home=tmp_path, host="127.0.0.2", port=8081, webserver_port=3001)
    assert (own.receipts_url, own.runs_url) == (
        "http://127.0.0.2:8081/api/v1/receipts",
        "http://127.0.0.2:3001/runs",
    )
    inside = Settings(home=tmp_path, webserver_url="http://webserver:3000")
    assert inside.runs_url == "http://webserver:3000/runs"
    public = Settings(
        home=tmp_path,
        webserver_url="http://webserver:3000",
        public_url="https://in.example.com/",
        public_webserver_url="https://ui.example.com",
    )
    assert (public.receipts_url, public.runs_url) == (
        "https://in.example.com/api/v1/receipts",
        "https://ui.example.com/runs",
    )
    assert public.dagster_url == "http://webserver:3000"
