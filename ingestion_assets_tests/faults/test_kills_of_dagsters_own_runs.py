"""Where Dagster itself starts the runs, without workers of ours, the laws are the same: killed under load, nothing is lost or doubled.

A process for each run is slow, so there are few payloads, of one flow.
"""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.faults.campaign import LONG, Campaign, campaign
from ingestion_assets_tests.faults.targets import CHILD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    home = tmp_path_factory.mktemp("own-runs") / "home"
    with campaign(home, seed=20261128, flows=["conversations"], launcher="dagster") as running:
        yield running


@pytest.mark.parametrize(
    "targets",
    [(CHILD, "daemon"), ("PostgreSQL",), (CHILD, "code server"), ("webserver", CHILD)]
    if LONG
    else [(CHILD, "daemon", "PostgreSQL")],
    ids=", ".join,
)
def test_killed_under_load(own: Campaign, targets: tuple[str, ...]) -> None:
    """`CHILD` is the process of a run."""
    done = own.strike(*targets, payloads=6, deadline_s=300)
    print(
        f"{', '.join(targets)}: {done.acknowledged} acknowledged, all done {done.finished_s:.1f} s after the last was "
        f"back, nothing held after {done.quiet_s:.1f} s; answers {dict(done.answers)}"
    )
    found = own.audit()
    assert found.is_clean, found
