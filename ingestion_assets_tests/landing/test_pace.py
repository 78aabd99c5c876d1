"""How long a new payload is expected to wait: by runs that had much to do, never by a flow that had little."""

import pytest

from ingestion_assets.landing.claims import MAX_DROPS
from ingestion_assets.landing.pace import EACH_BYTES, FULL_RUN, Run, expected_wait_s

FULL = float(FULL_RUN)


@pytest.mark.parametrize(
    ("lanes", "runs", "seconds"),
    [
        ([FULL], [], None),
        ([10 * FULL], [Run(FULL, 50.0, True)], 500.0),
        ([5 * FULL, 5 * FULL], [Run(FULL, 50.0, True)], 250.0),
        ([10 * FULL, *[0.001] * 500], [Run(FULL, 50.0, True)], pytest.approx(500.0)),
        ([10 * FULL], [Run(FULL, 50.0, True), Run(FULL, 100.0, True)], 500.0),
        ([FULL], [Run(EACH_BYTES, 1.0, True)] * 300, None),
        ([FULL], [Run(EACH_BYTES, 1.0, True), Run(FULL, 5.0, False)], 5.0),
        ([10 * FULL], [Run(FULL, 50.0, True), Run(FULL, 2.0, False)], 500.0),
        ([10 * FULL], [Run(FULL, 400.0, False)], 4000.0),
        ([3.0 * EACH_BYTES], [Run(EACH_BYTES, 400.0, True)], 1200.0),
        ([FULL], [Run(FULL, 0.0, True)], 1.0),
        ([3.0 * EACH_BYTES], [Run(EACH_BYTES, 7200.0, False)], None),
    ],
    ids=[
        "nothing has run", "a full run's pace", "lanes side by side", "next to empty ones", "the best run counts", "a burst after a trickle",
        "the burst's own run tells", "a run that has just begun does not", "a run that ends never", "few but slow",
        "a run in no time", "hours at one payload",
    ],
)  # fmt: skip
def test_the_expected_wait(lanes: list[float], runs: list[Run], seconds: float | None) -> None:
    assert expected_wait_s(lanes, runs) == seconds


def test_the_expected_wait_where_few_runs_go_on_at_once() -> None:
    """A hundred payloads in lanes of their own, four at a time, each of an hour."""
    lanes, runs = [float(EACH_BYTES)] * 100, [Run(EACH_BYTES, 3600.0, True)]
    assert expected_wait_s(lanes, runs) == 3600
    assert expected_wait_s(lanes, runs, at_once=4) == 25 * 3600


def test_a_full_run_is_what_a_run_claims() -> None:
    assert FULL_RUN == MAX_DROPS * EACH_BYTES
