"""A code location with jobs that do nothing, sleep, fail or block, and a flow whose payloads say how their run ends."""

import ctypes
import hashlib
import multiprocessing
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import psutil
import sqlalchemy as sa
from bson.errors import InvalidDocument
from pymongo.errors import AutoReconnect

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.dispatch import GATHERED_DROPS
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.landing.flows import Body, Flow
from ingestion_assets.landing.leases import LaneBusyError
from ingestion_assets.orchestration.jobs import flow_job
from ingestion_assets.orchestration.stages import Stages, claim_step
from ingestion_assets.stores.scratch_folders import scratch_folder
from ingestion_assets_tests.orchestration.one_payload import land_another

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working

DAYS = dg.DailyPartitionsDefinition(start_date="2026-01-01")


class Nothing(dg.IOManager):
    """Stores nothing."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None: ...

    def load_input(self, context: dg.InputContext) -> None: ...


def _chain(length: int) -> list[dg.AssetsDefinition]:
    assets: list[dg.AssetsDefinition] = []
    for number in range(length):

        @dg.asset(
            name=f"link_{number}",
            key_prefix="chain",
            partitions_def=DAYS,
            deps=[assets[-1]] if assets else [],
            group_name="chain",
        )
        def link() -> dg.MaterializeResult:
            return dg.MaterializeResult(metadata={"rows": 1})

        assets.append(link)
    return assets


CHAIN = _chain(7)


@dg.op(config_schema={"seconds": float, "started": str})
def sleep_in_python(context: dg.OpExecutionContext) -> None:
    Path(context.op_config["started"]).write_text(str(os.getpid()), encoding="utf-8")
    deadline = time.monotonic() + context.op_config["seconds"]
    while time.monotonic() < deadline:
        time.sleep(5)


@dg.op(config_schema={"seconds": float, "started": str})
def sleep_holding_the_gil(context: dg.OpExecutionContext) -> None:
    Path(context.op_config["started"]).write_text(str(os.getpid()), encoding="utf-8")
    deadline = time.monotonic() + context.op_config["seconds"]
    while (
        left := deadline - time.monotonic()
    ) > 0:  # sleep() of C ends at a signal, Python's handler waits for the GIL
        ctypes.PyDLL(None).usleep(int(left * 1_000_000))


@dg.op(config_schema={"seconds": float})
def compute_in_one_call(context: dg.OpExecutionContext) -> None:
    """Whoever watches sees nothing of it but the processor time."""
    rounds, took = 10_000, 0.0
    while took < context.op_config["seconds"]:
        rounds = rounds * 2 if took == 0 else int(rounds * 1.2 * context.op_config["seconds"] / took)
        started = time.monotonic()
        hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
        took = time.monotonic() - started


_kept: list[bytes] = []


@dg.op
def keep_memory() -> None:
    _kept.append(os.urandom(40 * 2**20))


_model: list[bytes] = []


def load_model() -> None:
    time.sleep(5)  # longer than Celery waits for a process by itself
    _model.append(b"weights!" * (500 * 2**17))


def load_nothing() -> None:
    raise OSError("planted: no such model")


@dg.op
def ask_model() -> None:
    """Take memory for a while, as an answer of the model does, and give it back."""
    assert len(_model) == 1
    assert _model[0].endswith(b"weights!")
    assert len(bytearray(os.urandom(20 * 2**20))) == 20 * 2**20


@dg.op
def fail() -> None:
    raise ValueError("planted")


@dg.job(executor_def=dg.in_process_executor)
def sleeping() -> None:
    sleep_in_python()


@dg.job(executor_def=dg.in_process_executor)
def blocking() -> None:
    sleep_holding_the_gil()


@dg.job(executor_def=dg.in_process_executor)
def computing() -> None:
    compute_in_one_call()


@dg.job(executor_def=dg.in_process_executor)
def hoarding() -> None:
    keep_memory()


@dg.job(executor_def=dg.in_process_executor)
def asking() -> None:
    ask_model()


@dg.job(executor_def=dg.in_process_executor)
def failing() -> None:
    fail()


@dg.op
def tell_where() -> None:
    assert multiprocessing.parent_process() is not None


@dg.job(executor_def=dg.multiprocess_executor)
def in_processes() -> None:
    tell_where()
    tell_where()


SECRET = "not-to-be-shown"
STEPS, STEP_S = 20, 0.4
PLANNED = Flow(
    name="planned",
    read_inbox=lambda _name, content: [(Body(content, 1), {})],
    compose=lambda records, _attributes: Body(b"".join(records), len(records)),
)


MODELLED = Flow(
    name="modelled",
    definitions=f"{__name__}:defs",
    warm=(f"{__name__}:load_nothing", f"{__name__}:load_model"),
)
"""Its runs need a model that each process of a worker loads once."""


class PlannedWork:
    """Does what the first payload's attribute `plan` says."""

    def __init__(self, run: "Working") -> None:
        self.run = run
        self.claim = run.claim
        self.plan = next((drop.attributes.get("plan") for drop in run.claim.drops), None)
        self.tries = 0

    def outcomes(self) -> list[DropOutcome]:
        if self.plan == "many steps":
            return [self.step_by_step(drop) for drop in self.claim.drops]
        return [DropOutcome(drop.id, {}) for drop in self.claim.drops]

    def have_more_join(self) -> None:
        """A hundred payloads land, and join the claim."""
        lane = self.claim.lanes[0]
        with self.run.engine.begin() as connection:
            for _ in range(GATHERED_DROPS):
                land_another(connection, lane)
        self.run.join_landed()

    def come_back_after(self, tries: int) -> None:
        """A store that is away for a moment."""
        self.tries += 1
        if self.tries <= tries:
            raise LandingUnavailableError("planted")

    def step_by_step(self, drop: DropRef) -> DropOutcome:
        """Steps that leave a line in a file when they begin, another when they are done, and go on after the last of those."""
        lines = Path(drop.attributes["lines"])
        done = lines.read_text().count("done") if lines.exists() else 0
        for step in range(done, STEPS):
            if self.run.safe_point(drop) != "continue":
                return DropOutcome(drop.id, {}, unfinished=True)
            for line in (f"begun {step}", f"done {step}"):
                with lines.open("a") as written:
                    written.write(f"{line}\n")
                time.sleep(STEP_S / 2)
            self.run.progress(drop, {"step": step + 1, "of": STEPS})
        return DropOutcome(drop.id, {})

    def overrun(self) -> None:
        """What Dagster does to a run that took longer than it may."""
        instance = dg.DagsterInstance.get()
        run = instance.get_run_by_id(self.claim.run_id)
        assert run is not None
        instance.report_run_failed(run, "Exceeded maximum runtime of 1 seconds.")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    def hang(self, how: str) -> None:
        """Stand still, in the way that is asked for; the last one heeds no interrupt."""
        if how == "deadlock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        if how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(60)
        if how == "hang in C":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as a call that goes on after a signal
            ctypes.PyDLL(None).usleep(60_000_000)

    def exceed(self) -> None:
        """Ask for more memory than the process may have."""
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**26, before[1]))
        try:
            bytearray(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def grow(self) -> None:
        """Take ever more memory in a control group that has little."""
        (Path(self.claim.drops[0].attributes["group"]) / "cgroup.procs").write_text(str(os.getpid()))
        taken = []
        while len(taken) < 64:
            taken.append(bytearray(os.urandom(2**20)) * 16)
            time.sleep(0.1)  # a look of the warden sees some of it

    def lose_the_ledger(self) -> None:
        """A failure that will pass, while nothing can be given back."""
        self.run.engine = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
        raise LaneBusyError("planted")

    def quote_the_payload(self, error: type[Exception]) -> None:
        """A driver's error, whose text quotes what was being written, and one that led to it."""
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise error(f"Invalid document {{'key': '{SECRET}'}}") from cause


_stages = Stages(flow=PLANNED, partitions_def=DAYS, start=PlannedWork)


@_stages.asset(
    kinds=set(),
    deps=["raw_batches"],
    check_specs=[dg.AssetCheckSpec("as_planned", asset=["planned", "stored"], blocking=True)],
)
def stored(work: PlannedWork) -> dg.MaterializeResult:
    """The stage at which runs end."""
    if work.plan == "come back":
        work.come_back_after(2)
    if work.plan in {"more join", "more join and it fails", "more join and it is killed"}:
        work.have_more_join()
    if work.plan == "more join and it is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if work.plan == "more join and it fails":
        raise ValueError("planted")
    if work.plan == "overrun":
        work.overrun()
    if work.plan == "lose the ledger":
        work.lose_the_ledger()
    if work.plan == "quote the payload":
        work.quote_the_payload(InvalidDocument)
    if work.plan == "quote it and pass":
        work.quote_the_payload(AutoReconnect)
    if work.plan in {"deadlock", "stop", "hang in C"}:
        work.hang(work.plan)
    if work.plan == "keep a folder":
        work.run.keep_open(scratch_folder(Path(work.claim.drops[0].attributes["folder"])))
    if work.plan == "exceed":
        work.exceed()
    if work.plan == "grow":
        work.grow()
    passed = work.plan != "fail the check"
    return dg.MaterializeResult(
        metadata={"tries": work.tries},
        check_results=[dg.AssetCheckResult(check_name="as_planned", passed=passed)],
    )


PLANNED_ASSETS = [
    claim_step(
        PLANNED,
        [
            _stages.raw_batches("The payloads.", kinds=set()),
            stored,
            _stages.ingestion_log(
                "The outcomes.", kinds=set(), deps=["stored"], accounts=lambda _outcome: True
            ),
        ],
    )
]


defs = dg.Definitions(
    assets=[*CHAIN, *PLANNED_ASSETS],
    jobs=[
        sleeping,
        blocking,
        failing,
        computing,
        hoarding,
        asking,
        in_processes,
        dg.define_asset_job("chain", selection=CHAIN),
        flow_job(PLANNED, audits=[]),
    ],
    executor=dg.in_process_executor,
    resources={"io_manager": Nothing()},
)
