"""Whatever goes wrong while all flows take payloads, be it clocks, syncs, damage, late writes or processes that stand still:
nothing acknowledged is lost, doubled or beaten by what was sent before it, and nothing is silent.

The long version is `soak.py`.
"""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.faults.campaign import LONG, Campaign, campaign_with_late_writes
from ingestion_assets_tests.faults.conftest import SEED
from ingestion_assets_tests.faults.kinds import KINDS
from ingestion_assets_tests.faults.stopping import STOPPABLE, STOPPED_S, stop_each

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROUNDS = 20 if LONG else 1
PAYLOADS = 12 if LONG else 4
STOPPED = [(target,) for target in STOPPABLE] if LONG else [("front door", "worker child", "PostgreSQL")]
STOP_S = STOPPED_S if LONG else (5.0, 6.0)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    if not LONG:
        yield request.getfixturevalue("cramped").campaign
        return
    with campaign_with_late_writes(tmp_path_factory.mktemp("proxied") / "home", seed=SEED) as proxied:
        yield proxied


def _clean(running: Campaign) -> None:
    done = running.rounds[-1]
    print(f"{', '.join(done.targets)}: {done.acknowledged} acknowledged, answers {dict(done.answers)}")
    found = running.audit()
    assert found.is_clean, found


# The gate has late writes without a stack, in `conversations/test_late_writes.py`.
TRIED = [kind for kind in KINDS if LONG or kind != "late writes"]


@pytest.mark.parametrize("kind", [kind for kind in TRIED for _ in range(ROUNDS)])
def test_kind_under_load(running: Campaign, kind: str) -> None:
    silent = KINDS[kind](running, PAYLOADS)
    assert silent == []
    _clean(running)


@pytest.mark.parametrize("targets", [targets for targets in STOPPED for _ in range(ROUNDS)], ids=", ".join)
def test_stopped_under_load(running: Campaign, targets: tuple[str, ...]) -> None:
    stop_each(running, *targets, payloads=PAYLOADS, seconds=STOP_S)
    _clean(running)
