"""Whatever goes wrong while all flows take payloads, be it clocks, syncs, damage, late writes or processes that stand still:
nothing acknowledged is lost, doubled or beaten by what was sent before it, and nothing is silent.

The long version is `soak.py`.
"""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.faults.campaign import LONG, Campaign, campaign_with_late_writes
from ingestion_assets_tests.faults.conftest import SEED, Cramped
from ingestion_assets_tests.faults.kinds import KINDS
from ingestion_assets_tests.faults.stopping import STOPPABLE, STOPPED_S, stop_each

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROUNDS = 20 if LONG else 1
PAYLOADS = 12 if LONG else 4
STOPPED = [(target,) for target in STOPPABLE] if LONG else [("front door", "worker child", "PostgreSQL")]
STOP_S = STOPPED_S if LONG else (5.0, 6.0)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Late writes want a stack of their own; without them, that of the tests beside does."""
    if LONG:
        with campaign_with_late_writes(tmp_path_factory.mktemp("proxied") / "home", seed=SEED) as proxied:
            yield proxied
    else:
        cramped: Cramped = request.getfixturevalue("cramped")
        yield cramped.campaign


def _clean(running: Campaign) -> None:
    done = running.rounds[-1]
    print(f"{', '.join(done.targets)}: {done.acknowledged} acknowledged, answers {dict(done.answers)}")
    found = running.audit()
    assert found.is_clean, found


# In the short form late writes are conversations/test_late_writes.py's matter: a project that was deleted meanwhile comes back with
# such a write and stays until the next run, which one round need not bring.
@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if LONG or kind != "late writes" for _ in range(ROUNDS)]
)
def test_kind_under_load(running: Campaign, kind: str) -> None:
    silent = KINDS[kind](running, PAYLOADS)
    assert silent == []
    _clean(running)


@pytest.mark.parametrize("targets", [targets for targets in STOPPED for _ in range(ROUNDS)], ids=", ".join)
def test_stopped_under_load(running: Campaign, targets: tuple[str, ...]) -> None:
    stop_each(running, *targets, payloads=PAYLOADS, seconds=STOP_S)
    _clean(running)
