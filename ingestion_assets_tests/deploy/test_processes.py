"""What `deploy/` starts can be started: the commands, options, settings, probes and times are those of the code."""

import re
import subprocess
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest

from ingestion_assets.frontdoor import health
from ingestion_assets.orchestration import worker
from ingestion_assets.settings import Settings
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import plan_stack
from ingestion_assets.stack.program_secrets import SECRETS, USED
from ingestion_assets_tests.deploy.processes import (
    DEPLOY,
    MANIFESTS,
    Process,
    compose,
    composed,
    example_environment,
    in_kubernetes,
    manifests,
    of_kind,
)

ALL = [*composed(), *in_kubernetes()]
PLACES = ("compose", "kubernetes")
MIGRATIONS = "ingestion_assets.stack.migrations"
HEALTH_PATHS = {getattr(route, "path", None) for route in health.router.routes} | {"/server_info"}


def _named(process: Process) -> str:
    return f"{process.where}-{process.name}"


def _embedded(home: Path) -> dict[str, tuple[str, ...]]:
    """The commands of `ingestion up` by program, from the module's name on."""
    plan = plan_stack(
        settings=Settings(home=home), places=Places(home), admin_token="token",  # pyright: ignore[reportCallIssue]
        ports={"postgres": 1, "mongodb": 2, "valkey": 3, "code_server": 4},
    )  # fmt: skip
    return {
        program.name: program.command[program.command.index("-m") + 1 :]
        for program in plan.programs
        if program.group != "stores"
    }


def _as_modules(command: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command, a console script written as the module that it stands for, `--a=b` as two words."""
    words = [part for word in command for part in word.split("=", 1)]
    if words[:2] == ["python", "-m"]:
        return tuple(words[2:])
    assert words[0] in {script.name for script in entry_points(group="console_scripts")}
    return ({"dagster-daemon": "dagster._daemon"}.get(words[0], words[0].replace("-", "_")), *words[1:])


def _subject(words: tuple[str, ...]) -> list[str]:
    """Module and sub-commands: what stands before the options."""
    return list(takewhile(lambda word: not word.startswith("--"), words))


def _options(words: tuple[str, ...]) -> set[str]:
    return {word for word in words if word.startswith("--")}


@pytest.mark.parametrize("process", ALL, ids=_named)
def test_a_process_runs_the_command_of_the_embedded_stack(process: Process, tmp_path: Path) -> None:
    words = _as_modules(process.command)
    if process.name == "migrations":
        assert words == (MIGRATIONS,)
        assert find_spec(MIGRATIONS)
        return
    embedded = _embedded(tmp_path)[process.name]
    assert _subject(words) == _subject(embedded)
    assert _options(words) - {"--concurrency"} == _options(embedded)


@pytest.mark.parametrize("where", PLACES)
def test_nothing_of_the_embedded_stack_is_missing(where: str, tmp_path: Path) -> None:
    names = {process.name for process in ALL if process.where == where}
    assert names == {*_embedded(tmp_path), "migrations"}


@pytest.mark.parametrize("process", [one for one in ALL if one.name.startswith("worker")], ids=_named)
def test_a_worker_takes_its_options(process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        worker.main(
            [*process.command[3:], "--help"]
        )  # the options before it are read, then it says what there are
    assert ended.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("process", ALL, ids=_named)
def test_every_variable_is_a_setting_with_a_value_it_takes(process: Process) -> None:
    given = {
        name.removeprefix("INGESTION_").lower(): value
        for name, value in process.environment.items()
        if name.startswith("INGESTION_")
    }
    assert set(given) <= set(Settings.model_fields)
    settings = Settings(**given)  # pyright: ignore[reportArgumentType]
    assert settings.webserver_url
    # Not given by the example: the older name of the keys, and what only some have.
    optional = {"secret_key", "embedding_endpoints", "dagster_headers", "kafka_url"}
    assert {name for name in SECRETS if getattr(settings, name)} - optional == USED[process.name] - optional
    if settings.secret_keys is not None:
        assert len(settings.secret_keys.get_secret_value()) >= 32
    assert not [
        name for name in process.environment if name.endswith("_PASSWORD") and name[:9] != "INGESTION"
    ]
    assert {"DAGSTER_CODE_SERVER_HOST", "DAGSTER_CODE_SERVER_PORT"} <= process.environment.keys()


def test_what_the_example_proposes_are_settings() -> None:
    proposed = re.findall(
        r"^#? ?INGESTION_(\w+)=", (DEPLOY / ".env.example").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(proposed) > 5
    assert {name.lower() for name in proposed} <= set(Settings.model_fields)


@pytest.mark.parametrize("where", PLACES)
def test_as_many_runs_are_queued_as_there_are_workers(where: str) -> None:
    processes = {process.name: process for process in ALL if process.where == where}
    for queue in ("default", "batch", "gpu"):
        one = processes[f"worker-{queue}"]
        optional = where == "compose" and one.described.get("profiles")
        slots = 0 if optional else one.copies * int(one.option("--concurrency"))
        assert one.option("--queue") == queue
        for process in processes.values():
            assert process.environment[f"INGESTION_WORKERS_{queue.upper()}"] == str(slots)


@pytest.mark.parametrize("process", ALL, ids=_named)
def test_there_is_time_to_drain(process: Process) -> None:
    needed = 1.0
    if process.name == "frontdoor":
        needed += float(
            process.environment.get("INGESTION_DRAIN_S", Settings.model_fields["drain_s"].default)
        )
        if process.where == "kubernetes":
            (container,) = process.described["containers"]
            needed += container["lifecycle"]["preStop"]["sleep"]["seconds"]
    elif process.name.startswith("worker"):
        needed += float(process.option("--drain"))
    assert process.grace_s > needed


@pytest.mark.parametrize("process", composed(), ids=_named)
def test_services_wait_for_what_they_need_and_ask_for_health_where_it_is_told(process: Process) -> None:
    service, services = process.described, compose()["services"]
    expected = "service_healthy" if process.name == "migrations" else "service_completed_successfully"
    needs = service["depends_on"]
    assert needs.get("migrations", needs.get("postgres"))["condition"] == expected
    for name, need in needs.items():
        assert need["condition"] != "service_healthy" or services[name]["healthcheck"]["test"]
    asked = " ".join(service.get("healthcheck", {}).get("test", ()))
    for port, path in re.findall(r"http://127\.0\.0\.1:(\d+)([\w/]+)", asked):
        assert path in HEALTH_PATHS
        assert any(published.endswith(f":{port}") for published in service["ports"])


@pytest.mark.parametrize("process", in_kubernetes(), ids=_named)
def test_pods_are_probed_where_health_is_told(process: Process) -> None:
    (container,) = process.described["containers"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {})
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] in HEALTH_PATHS
            assert probe["httpGet"]["port"] in ports
        if "grpc" in probe:
            assert probe["grpc"]["port"] in ports.values()
    assert "readinessProbe" in container or not ports
    # Else the service `code-server` would set DAGSTER_CODE_SERVER_PORT's like, to `tcp://…`.
    assert process.described["enableServiceLinks"] is False


def test_services_and_budgets_lead_to_pods() -> None:
    pods = {
        frozenset(one["spec"]["template"]["metadata"]["labels"].items()): one["spec"]["template"]["spec"]
        for one in of_kind("Deployment")
    }
    for service in of_kind("Service"):
        (container,) = pods[frozenset(service["spec"]["selector"].items())]["containers"]
        assert service["spec"]["ports"][0]["targetPort"] in [
            one["containerPort"] for one in container["ports"]
        ]
    for budget in of_kind("PodDisruptionBudget"):
        assert frozenset(budget["spec"]["selector"]["matchLabels"].items()) in pods
    for one in of_kind("Deployment"):
        assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
    names = {one["metadata"]["name"] for one in of_kind("Deployment")}
    assert {one["spec"]["scaleTargetRef"]["name"] for one in of_kind("HorizontalPodAutoscaler")} <= names


def test_addresses_are_those_of_services() -> None:
    known = {
        "compose": set(compose()["services"]),
        "kubernetes": {service["metadata"]["name"] for service in of_kind("Service")},
    }
    for process in ALL:
        names = known[process.where]
        assert process.environment["DAGSTER_CODE_SERVER_HOST"] in names
        webserver = re.fullmatch(r"http://([\w-]+):3000", process.environment["INGESTION_WEBSERVER_URL"])
        assert webserver is not None
        assert webserver[1] in names


def test_the_kustomization_has_every_manifest_but_the_secret_and_those_of_the_component() -> None:
    text = (MANIFESTS / "kustomization.yaml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^  - ([\w.-]+\.yaml)$", text, re.MULTILINE))
    assert listed == {name for name, _ in manifests()} - {"secret.example.yaml", "home.yaml"}


def test_the_image_is_made_of_files_that_exist() -> None:
    root = DEPLOY.parent
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert len(copied) >= 6
    for source in copied:
        assert (root / source).exists()
        assert not (root / source).is_symlink()
        assert any(
            source == line[1:] or source.startswith(f"{line[1:]}/") for line in sent if line[:1] == "!"
        )


def test_the_entrypoint_installs_the_configuration_and_becomes_the_command(tmp_path: Path) -> None:
    script = tmp_path / "entrypoint.sh"
    script.write_bytes((DEPLOY / "entrypoint.sh").read_bytes())
    (tmp_path / "dagster.yaml").write_text("theirs", encoding="utf-8")
    home = tmp_path / "home" / "dagster"
    command = ("sh", str(script), "sh", "-c", 'echo "$0 $1"; exit 7', "a b", "c")

    def run() -> tuple[int, str]:
        done = subprocess.run(
            command, env={"PATH": "/usr/bin:/bin", "DAGSTER_HOME": str(home)}, capture_output=True, text=True, check=False
        )  # fmt: skip
        return done.returncode, done.stdout

    assert run() == (7, "a b c\n")
    assert (home / "dagster.yaml").read_text(encoding="utf-8") == "theirs"
    (home / "dagster.yaml").unlink()
    (home / "dagster.yaml").write_text("mine", encoding="utf-8")
    assert run() == (7, "a b c\n")
    assert (home / "dagster.yaml").read_text(encoding="utf-8") == "mine"


def test_secrets_are_left_open_in_the_example() -> None:
    text = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    for name in example_environment():
        if re.search("PASSWORD|TOKEN|SECRET", name):
            assert f"\n{name}=\n" in f"\n{text}"
