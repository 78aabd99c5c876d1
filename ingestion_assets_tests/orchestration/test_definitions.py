"""What Dagster is told of the system: every asset says what it is, nothing is renamed by accident, importing is cheap."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.import_time import ratio_to_dagster
from ingestion_assets.definitions import definitions
from ingestion_assets.orchestration.asset_specs import source_digest
from ingestion_assets.orchestration.storages import PooledPostgresRunStorage, pooled_engine
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration.outline import HOW_TO_RENEW, SNAPSHOT, outline

PROJECT = Path(__file__).parents[2]
SLOWER_THAN_DAGSTER = 1.3
HEAVY = (
    "torch",
    "sentence_transformers",
    "transformers",
    "polars",
    "pandas",
    "pyarrow",
    "tree_sitter",
    "fastapi",
)
REPOSITORY = definitions.get_repository_def()
SPECS = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


@pytest.mark.parametrize("key", sorted(SPECS))
def test_asset_says_what_it_is(key: str) -> None:
    spec = SPECS[key]
    assert spec.description
    assert spec.description[0].isupper()
    assert spec.description.endswith(".")
    assert spec.group_name == spec.key.path[0]
    assert spec.owners
    assert spec.kinds
    assert spec.code_version


def test_stages_say_where_they_are_written() -> None:
    [place] = SPECS["conversations/messages"].metadata["dagster/code_references"].code_references
    path = Path(place.file_path)
    assert path.relative_to(PROJECT) == Path("ingestion_assets/conversations/assets.py")
    following = path.read_text(encoding="utf-8").splitlines()[place.line_number - 1 :]
    assert next(line for line in following if line.startswith("def ")).startswith("def messages(")


def test_every_check_says_what_holds() -> None:
    keys = REPOSITORY.asset_graph.asset_check_keys
    assert keys
    assert [str(key) for key in keys if not REPOSITORY.asset_graph.get_check_spec(key).description] == []


def test_every_job_sensor_and_schedule_says_what_it_does() -> None:
    named = [
        *(job for job in REPOSITORY.get_all_jobs() if not job.name.startswith("__")),
        *REPOSITORY.sensor_defs,
        *REPOSITORY.schedule_defs,
    ]
    assert [one.name for one in named if not one.description] == []


def test_sensors_and_schedules_run_without_being_switched_on() -> None:
    running = dg.DefaultSensorStatus.RUNNING.value
    stopped = [
        one.name
        for one in (*REPOSITORY.sensor_defs, *REPOSITORY.schedule_defs)
        if one.default_status.value != running
    ]
    assert stopped == []


def test_every_job_has_a_bound_on_its_time() -> None:
    unbound = [
        job.name
        for job in REPOSITORY.get_all_jobs()
        if not job.name.startswith("__") and "dagster/max_runtime" not in job.tags
    ]
    assert unbound == []


def test_keys_dependencies_jobs_and_sensors_are_as_written_down() -> None:
    """To change them is to change what people's dashboards and scripts name."""
    assert outline(REPOSITORY) == SNAPSHOT.read_text(encoding="utf-8"), f"if that is meant: {HOW_TO_RENEW}"


def _loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print('\\n'.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=PROJECT, check=True
    )
    return set(done.stdout.split())


def test_definitions_load_nothing_heavy() -> None:
    assert _loaded_by("ingestion_assets.definitions").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["ingestion_assets.server", "ingestion_assets.cli"])
def test_what_must_start_fast_does_not_import_dagster(module: str) -> None:
    assert _loaded_by(module).isdisjoint({"dagster", "torch", "polars", "pandas"})


def test_dagster_validates_the_definitions() -> None:
    """From the root of the repository, in a shell that knows of no stack."""
    command = (Path(sys.executable).with_name("dagster"), "definitions", "validate")
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER_", "INGESTION_"))
    }
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, env=bare, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_events_in_dagsters_programs_read_as_the_settings_say(as_json: bool, tmp_path: Path) -> None:
    """Its code server has configured structlog for its own loggers by then, and would print ours as dictionaries of Python."""
    code = (
        "from dagster._utils.log import configure_loggers; configure_loggers(); import structlog;"
        "from ingestion_assets.event_lines import print_event_lines; print_event_lines();"  # as a tick does first
        "structlog.get_logger('here').warning('inbox_refused', file='a.txt')"
    )
    variables = {"INGESTION_HOME": str(tmp_path), "INGESTION_LOG_JSON": str(as_json)}
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=PROJECT, check=True, env=os.environ | variables
    )  # fmt: skip
    line = (done.stdout + done.stderr).splitlines()[-1]
    if as_json:
        assert json.loads(line)["event"] == "inbox_refused"
    else:
        assert "inbox_refused" in line
        assert "file=a.txt" in line


def test_a_code_version_changes_with_the_source_of_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "work_of_a_flow.py"
    module.write_text("ONE = 1", encoding="utf-8")
    before = source_digest(["work_of_a_flow"])
    assert source_digest(["work_of_a_flow"]) == before
    module.write_text("ONE = 2", encoding="utf-8")
    assert source_digest(["work_of_a_flow"]) != before
    versions = {key.path[0]: SPECS[key.to_user_string()].code_version for key in _WRITTEN_BY_CLAIMS}
    assert len(set(versions.values())) == len(versions), "each flow has its own"


_WRITTEN_BY_CLAIMS = [spec.key for name, spec in SPECS.items() if name.endswith("/ingestion_log")]


@pytest.mark.slow
def test_importing_the_definitions_takes_hardly_longer_than_dagster() -> None:
    """Noise only ever makes it look slower, so the best of three measurements counts."""
    ratios: list[float] = []
    while len(ratios) < 3 and min(ratios, default=9.9) > SLOWER_THAN_DAGSTER:
        ratios.append(ratio_to_dagster("ingestion_assets.definitions", pairs=3).ratio)
    assert min(ratios) <= SLOWER_THAN_DAGSTER, ratios


def test_dagster_gets_psycopg2_and_the_public_schema() -> None:
    """With SQLAlchemy 2.1 a bare `postgresql://` means psycopg 3, with which dagster-postgres cannot NOTIFY."""
    engine = pooled_engine("postgresql://ingestion:p%40ss@db.example.com:5432/x?options=-c%20work_mem%3D8MB")
    assert engine.driver == "psycopg2"
    options = engine.dialect.create_connect_args(engine.url)[1]["options"]
    assert "work_mem" in options


def test_storages_without_a_stack_say_so_when_they_are_used(tmp_path: Path) -> None:
    with environment(INGESTION_HOME=tmp_path, INGESTION_POSTGRES_URL=None):
        storage = PooledPostgresRunStorage.from_config_value(None, {})
        with pytest.raises(LookupError, match="ingestion up"):
            storage.get_runs()
