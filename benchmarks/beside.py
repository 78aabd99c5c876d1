"""Seconds from the POST of a batch to its answer while a second code location, with a Python of its own, runs plain assets.

20 assets, each a process of Dagster's default executor, in a location whose pandas is another: they all succeed, and the answers of
ours come as before.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from measuring import (
    Targets,
    arguments,
    batches,
    bench_stack,
    post_in_turn,
    quantile,
    table_of_seconds,
    temporary_home,
)

from ingestion_assets_tests.stack.another_python import another_python
from ingestion_assets_tests.stack.shop_project import launch, status
from ingestion_assets_tests.stacks import RunningStack

SIZE = 50
ASSETS = """
import dagster as dg
import pandas

def made(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"plain_{{number}}")
    def plain() -> dg.MaterializeResult:
        frame = pandas.DataFrame({{"value": range(100_000)}})
        return dg.MaterializeResult(metadata={{"mean": float(frame["value"].mean()), "pandas": pandas.__version__}})
    return plain

assets = [made(number) for number in range({number})]
defs = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("shop", assets)])
"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def yielding(python: Path) -> Path:
    """The same interpreter for processes that leave the processor to others, as the docs recommend."""
    script = python.with_name("yielding-python")
    script.write_text(f'#!/bin/sh\nexec nice -n 15 {python} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return script


def post_while(stack: RunningStack, bodies: list[bytes], goes_on: Callable[[], bool]) -> list[float]:
    """One after the other, from the first body again at the end of them, for as long as something goes on."""
    seconds: list[float] = []
    while goes_on() and bodies:
        seconds += post_in_turn(stack, [bodies.pop()])
    return seconds


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    number, assets = (15, 5) if options.quick else (60, 20)
    targets = Targets()
    bodies = batches(count=20 * number, seed=23, size=SIZE)
    with temporary_home() as folder:
        python = yielding(another_python(folder / "python"))
        (folder / "shop.py").write_text(ASSETS.format(number=assets), encoding="utf-8")
        workspace = folder / "workspace.yaml"
        workspace.write_text(
            "load_from:\n  - python_file: {relative_path: shop.py, location_name: shop, "
            f"executable_path: {python}}}\n",
            encoding="utf-8",
        )
        with bench_stack(workspace=workspace) as stack:
            post_in_turn(stack, [bodies.pop() for _ in range(5)])
            alone = post_in_turn(stack, [bodies.pop() for _ in range(number)])
            run = launch(stack, "shop")
            began = time.monotonic()
            beside = post_while(stack, bodies, lambda: status(stack, run) not in ENDED)
            took = time.monotonic() - began
            ended = status(stack, run)
    table_of_seconds(
        f"{SIZE} messages, from request to answer; {assets} plain assets took {took:.0f} s",
        {"alone": alone, "beside them": beside},
    )
    targets.at_least("runs of the other location that succeeded", ended == "SUCCESS", 1)
    targets.at_most("p95 beside them, of that alone", quantile(beside, 0.95) / quantile(alone, 0.95), 1.3)
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
