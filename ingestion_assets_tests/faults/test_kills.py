"""Whatever is killed under load: nothing acknowledged is lost or doubled, nothing stays open, tables equal the oracle's.

The long version is `soak.py`.
"""

import os

import pytest

from ingestion_assets_tests.faults.conftest import Cramped
from ingestion_assets_tests.faults.targets import TARGETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = 20 if os.environ.get("INGESTION_LONG_TESTS") == "1" else 1


@pytest.mark.parametrize("target", TARGETS)
def test_killed_under_load(cramped: Cramped, target: str) -> None:
    running = cramped.campaign
    for _ in range(KILLS):
        done = running.strike(target, lines=160)
        print(
            f"{target}: all done {done.finished_s:.1f} s after it was back, nothing held after {done.quiet_s:.1f} s; "
            f"answers {dict(done.answers)}"
        )
    found = running.audit()
    print(f"{found.acknowledged} acknowledged, {len(found.failed)} failed")
    assert (found.lost, found.failed, found.doubled, found.different) == ([], [], 0, [])
