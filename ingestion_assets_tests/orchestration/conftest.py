"""A Dagster instance on real servers and real workers, which tests may kill and start again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.queues import DEFAULT_QUEUE, QUEUE_TAG
from ingestion_assets.orchestration.run_execution import execute_run
from ingestion_assets.orchestration.warm_code import WarmCode
from ingestion_assets.orchestration.worker_runs import WorkerRuns
from ingestion_assets.settings import Settings
from ingestion_assets.stores.embedded import EmbeddedServer, embedded_valkey, free_port
from ingestion_assets.stores.postgres import driver_url
from ingestion_assets_tests import servers
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration import jobs_for_tests
from ingestion_assets_tests.servers import wait_until

PROJECT = Path(__file__).parents[2]
MODULE = jobs_for_tests.__name__
PACKAGE = "ingestion_assets.orchestration"


@dataclass(kw_only=True)
class Broker:
    """A Valkey that can be stopped and started."""

    server: EmbeddedServer
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        servers.stop(self.server, self.process)

    def start(self) -> None:
        self.process = servers.start(self.server)


@dataclass(kw_only=True)
class Runs:
    """Creates and launches runs of the jobs for tests, and waits for what becomes of them."""

    instance: dg.DagsterInstance
    folder: Path

    def create(
        self,
        job: str,
        *,
        run_config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        asset_selection: set[dg.AssetKey] | None = None,
    ) -> str:
        repository = RepositoryPythonOrigin(
            executable_path=sys.executable, code_pointer=ModuleCodePointer(MODULE, "defs", str(PROJECT))
        )
        location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name="tests")
        return self.instance.create_run_for_job(
            jobs_for_tests.defs.get_repository_def().get_job(job),
            run_config=run_config,
            tags={QUEUE_TAG: DEFAULT_QUEUE, **(tags or {})},  # as the coordinator sees to
            asset_selection=asset_selection,
            job_code_origin=JobPythonOrigin(job, repository),
            remote_job_origin=RemoteRepositoryOrigin(location, "__repository__").get_job_origin(job),
        ).run_id

    def launch(self, job: str, **details: Any) -> str:
        run_id = self.create(job, **details)
        self.instance.launch_run(run_id, None)  # pyright: ignore[reportArgumentType]
        return run_id

    def submit(self, run_id: str) -> dg.DagsterRunStatus:
        """The run's status after the coordinator has taken it."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        context = SubmitRunContext(run, workspace=None)  # pyright: ignore[reportArgumentType]
        return self.instance.run_coordinator.submit_run(context).status

    def launch_sleeping(self, job: str = "sleeping", *, seconds: float = 60) -> tuple[str, int]:
        """A run that is inside its step now, and the process that executes it."""
        started = self.folder / os.urandom(8).hex()
        op = {"sleeping": "sleep_in_python", "blocking": "sleep_holding_the_gil"}[job]
        config = {"ops": {op: {"config": {"seconds": seconds, "started": str(started)}}}}
        run_id = self.launch(job, run_config=config)
        wait_until(
            lambda: started.exists() and started.read_text(encoding="utf-8"), seconds=20, what="the step"
        )
        return run_id, int(started.read_text(encoding="utf-8"))

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def wait_for(self, run_id: str, status: dg.DagsterRunStatus, *, seconds: float = 15) -> None:
        wait_until(
            lambda: self.status(run_id) == status,
            seconds=seconds,
            what=f"{status} of run {run_id}, which is {self.status(run_id)}",
        )

    def messages(self, run_id: str) -> str:
        return "\n".join(record.user_message or record.message for record in self.instance.all_logs(run_id))

    def count(self, run_id: str, kind: dg.DagsterEventType) -> int:
        return len(self.instance.all_logs(run_id, of_type=kind))


def runs_of_a_worker(
    engine: sa.Engine, *, of: type[WorkerRuns] = WorkerRuns, **settings: object
) -> WorkerRuns:
    """Those of a worker that is this process."""
    given = Settings(_env_file=None, lease_s=20, **settings)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return of(worker=Worker.here(), engine=engine, settings=given)


def execute(instance: dg.DagsterInstance, run_id: str, runs: WorkerRuns) -> bool:
    """Execute a run here as a worker's child does."""
    return execute_run(run_id, instance=instance, runs=runs, code=WarmCode())


@dataclass(kw_only=True)
class WorkerProcess:
    """A worker as a process of its own."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, *, concurrency: int = 2, drain: float = 8, **settings: object) -> "WorkerProcess":
        """`settings` as in `worker_spare_mb=1` for INGESTION_WORKER_SPARE_MB."""
        given = {f"INGESTION_{name.upper()}": str(value) for name, value in settings.items()}
        self.log.write_bytes(b"")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", f"{PACKAGE}.worker", "--queue=default", f"--module={MODULE}",
                    f"--concurrency={concurrency}", f"--drain={drain}",
                ],
                cwd=PROJECT, env=self.environment | given, stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(self._is_ready, seconds=180, what="the worker to be ready")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        text = self.log.read_text(encoding="utf-8", errors="replace")
        assert self.process.poll() is None, text
        return " ready." in text

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self, *, within: float = 20) -> None:
        if self.process is not None and self.is_alive:
            self.process.terminate()
            self.process.wait(timeout=within)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    server = embedded_valkey(folder=tmp_path_factory.mktemp("broker") / "server", port=free_port())
    broker = Broker(server=server, process=servers.start(server))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def dagster_home(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, broker: Broker) -> Path:
    """A folder with a `dagster.yaml` that names our storages, launcher and coordinator."""
    home = tmp_path_factory.mktemp("dagster")
    stores = {
        f"{name}_storage": {
            "module": f"{PACKAGE}.storages",
            "class": f"PooledPostgres{kind}Storage",
            "config": {"postgres_url": postgres_url},
        }
        for name, kind in {"run": "Run", "event_log": "EventLog", "schedule": "Schedule"}.items()
    }
    launcher = {
        "module": f"{PACKAGE}.launcher",
        "class": "WarmRunLauncher",
        "config": {"redis_url": broker.server.url, "postgres_url": postgres_url, "locations": ["tests"]},
    }
    coordinator = {
        "module": f"{PACKAGE}.coordinator",
        "class": "LaneRunCoordinator",
    }
    logs = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    config = {
        **stores,
        "run_launcher": launcher,
        "run_coordinator": coordinator,
        "compute_logs": logs,
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 5},
        "telemetry": {"enabled": False},
    }
    (home / "dagster.yaml").write_text(json.dumps(config), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def runs(dagster_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(dagster_home))) as instance:
        yield Runs(instance=instance, folder=tmp_path_factory.mktemp("started"))


@pytest.fixture(scope="module")
def worker_process(dagster_home: Path, postgres_url: str, broker: Broker) -> Iterator[WorkerProcess]:
    """A worker that is not started yet."""
    environment = os.environ | {
        "DAGSTER_HOME": str(dagster_home),
        "INGESTION_HOME": str(dagster_home / "home"),
        "INGESTION_POSTGRES_URL": postgres_url,
        "INGESTION_REDIS_URL": broker.server.url,
        "INGESTION_HEARTBEAT_S": "0.5",
        "PYTHONPATH": str(PROJECT),
    }
    worker = WorkerProcess(environment=environment, log=dagster_home / "worker.log")
    yield worker
    worker.terminate()
    worker.kill()


@pytest.fixture
def worker(worker_process: WorkerProcess) -> WorkerProcess:
    """The worker, running; started anew where the test before killed it."""
    return worker_process if worker_process.is_alive else worker_process.start()


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    """Connections of the test's own to the ledger."""
    made = sa.create_engine(driver_url(postgres_url, "psycopg"))
    yield made
    made.dispose()


@pytest.fixture
def stores_of_the_process(postgres_url: str, dagster_home: Path) -> Iterator[None]:
    """The settings lead this process, which executes runs itself, to the test's stores."""
    home = dagster_home / "home"
    with environment(INGESTION_POSTGRES_URL=postgres_url, INGESTION_HOME=home, DAGSTER_HOME=dagster_home):
        yield
