"""What runs that are over still hold goes back to the ledger, and only that."""

import dagster as dg
import sqlalchemy as sa

from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.orchestration.dead_runs import give_back_dead_claims
from ingestion_assets_tests.landing.ledger_for_tests import accept_all, note, take


@dg.job
def empty() -> None:
    """Does nothing."""


def test_a_retry_keeps_the_claim_of_a_first_run_that_was_deleted(
    engine: sa.Engine, storage: LocalStorage
) -> None:
    accept_all(engine, storage, [note()])
    with dg.instance_for_test() as instance:
        first = instance.create_run_for_job(empty).run_id
        retry = instance.create_run_for_job(
            empty, parent_run_id=first, root_run_id=first,
            tags={"dagster/root_run_id": first, "dagster/parent_run_id": first},
        )  # fmt: skip
        take(engine, first)
        instance.delete_run(first)
        assert give_back_dead_claims(instance, engine) == 0, "it works under that claim"
        instance.report_run_failed(retry)
        assert give_back_dead_claims(instance, engine) == 1
