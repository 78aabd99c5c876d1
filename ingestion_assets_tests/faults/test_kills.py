"""Whatever is killed under load: nothing acknowledged is lost or doubled, nothing stays open, tables equal the oracle's.

The long version is `soak.py`.
"""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.faults.campaign import Campaign, campaign
from ingestion_assets_tests.faults.targets import TARGETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SEED = 20260301


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with campaign(tmp_path_factory.mktemp("faults") / "home", seed=SEED) as made:
        yield made


@pytest.mark.parametrize("target", TARGETS)
def test_killed_under_load(running: Campaign, target: str) -> None:
    done = running.strike(target, lines=160)
    found = running.audit()
    print(
        f"{target}: all done {done.finished_s:.1f} s after it was back, nothing held {done.quiet_s:.1f} s; "
        f"answers {dict(done.answers)}, {len(found.failed)} failed"
    )
    assert found.lost == []
    assert found.failed == []
    assert found.doubled == 0
    assert found.different == []
