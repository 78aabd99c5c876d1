"""What a stage tells of itself, however long one call in it takes."""

import itertools
import time
from collections.abc import Mapping
from typing import Any

from ingestion_assets.repositories.stage_watch import StageWatch
from ingestion_assets_tests.servers import wait_until

SILENT_S = 10


def test_no_stage_is_silent_and_each_says_how_far_it_is() -> None:
    told: list[tuple[float, Mapping[str, Any]]] = []
    watch = StageWatch(lambda state: told.append((time.monotonic(), state)))
    with watch.stage("parsing"):
        watch.note(3, 8)
        wait_until(lambda: len(told) >= 3, seconds=3 * SILENT_S, what="the stage to be told of again")
    assert told[0][1] == {"stage": "parsing"}
    assert all(
        state == {"stage": "parsing", "files_done": 3, "files_total": 8, "seconds": state["seconds"]}
        for _, state in told[1:]
    )
    assert all(after - before < SILENT_S for (before, _), (after, _) in itertools.pairwise(told))
    assert watch.took["parsing"]["seconds"] >= told[-1][0] - told[0][0]
    assert watch.took["parsing"]["peak_memory_mb"] > 0
