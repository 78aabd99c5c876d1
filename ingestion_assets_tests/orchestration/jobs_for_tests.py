"""A code location with jobs that do nothing, sleep, fail or block: what the tests of workers run."""

import ctypes
import os
import time
from pathlib import Path

import dagster as dg

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


_kept: list[bytes] = []


@dg.op
def keep_memory() -> None:
    _kept.append(os.urandom(40 * 2**20))


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
def hoarding() -> None:
    keep_memory()


@dg.job(executor_def=dg.in_process_executor)
def failing() -> None:
    fail()


defs = dg.Definitions(
    assets=CHAIN,
    jobs=[
        sleeping,
        blocking,
        failing,
        hoarding,
        dg.define_asset_job("chain", selection=CHAIN),
    ],
    executor=dg.in_process_executor,
    resources={"io_manager": Nothing()},
)
