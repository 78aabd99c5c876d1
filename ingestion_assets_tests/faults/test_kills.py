"""Whatever is killed while all flows take payloads: nothing acknowledged is lost or doubled, nothing stays open, tables
equal the oracles'.

The long version, each target by itself, is `soak.py`.
"""

import pytest

from ingestion_assets_tests.faults.campaign import LONG
from ingestion_assets_tests.faults.conftest import Cramped
from ingestion_assets_tests.faults.targets import CHILD, JOB, SUPERVISORD, TARGETS, UP

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOGETHER = (
    (JOB, CHILD, "daemon", "code server", "webserver", UP),
    ("front door", "PostgreSQL", "Valkey", "worker", "GPU worker", "batch worker", "MongoDB", SUPERVISORD),
)
"""Targets that a short run kills within one round, to be quick: the stack is started again for the last of them anyway."""
ROUNDS = [(target,) for target in TARGETS for _ in range(20)] if LONG else TOGETHER


def test_every_target_is_killed() -> None:
    assert {target for targets in ROUNDS for target in targets} == set(TARGETS)


@pytest.mark.parametrize("targets", ROUNDS, ids=", ".join)
def test_killed_under_load(cramped: Cramped, targets: tuple[str, ...]) -> None:
    done = cramped.campaign.strike(*targets, payloads=12 if LONG else 10)
    print(
        f"{', '.join(targets)}: {done.acknowledged} acknowledged, all done {done.finished_s:.1f} s after the last was "
        f"back, nothing held after {done.quiet_s:.1f} s; answers {dict(done.answers)}"
    )
    found = cramped.campaign.audit()
    assert found.is_clean, found
