"""Each flow's own assets in its own job: a dispatched run works through a landed payload in one step and reports all of them."""

import json
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEventType as Kind

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing import dispatch
from ingestion_assets.landing.inbox import Inboxes
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.samples.transcripts import messages
from ingestion_assets.settings import load_settings
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.orchestration.conftest import Runs
from ingestion_assets_tests.servers import wait_until

SITE = 7
SYNC = {
    "site_info": {}, "sync_timestamp": "2026-02-01T08:00:00Z", "sync_type": "full", "drupal_version": "10.2.1", "php_version": "8.3.0",
    "modules": [{"machine_name": "token", "name": "Token", "type": "contrib", "status": True, "version": "8.x-1.0"}],
}  # fmt: skip
FILES = {
    "conversations": ("one.jsonl", "\n".join(json.dumps(line) for line in messages(lines=3, seed=1))),
    "entities": ("one.txt", "C|1|name|lane|3|11-719|-7.10|BUILDING|comment\n"),
    "modules": (f"{SITE}/one.json", json.dumps(SYNC)),
}


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.usefixtures("stores_of_the_process")
def test_a_payload_goes_through_all_assets_in_one_step(
    runs: Runs,
    engine: sa.Engine,
    mongodb_url: str,
    tmp_path: Path,
    name: str,
) -> None:
    with environment(INGESTION_HOME=tmp_path, INGESTION_MONGODB_URL=mongodb_url):
        _goes_through_all_assets(runs, engine, name)


def _goes_through_all_assets(runs: Runs, engine: sa.Engine, name: str) -> None:
    from ingestion_assets.definitions import definitions  # noqa: PLC0415  # reads the settings

    with engine.begin() as connection:
        connection.execute(
            sa.text("TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches CASCADE")
        )
        site = "INSERT INTO ingestion.sites (id, name) VALUES (:id, 'test') ON CONFLICT (id) DO NOTHING"
        connection.execute(sa.text(site), {"id": SITE})
    storage, flow = open_storage(load_settings()), all_flows()[name]
    path, content = FILES[name]
    storage.write(f"{name}/inbox/{path}", content.encode())
    inboxes = Inboxes(engine, storage, settled_s=0)
    wait_until(lambda: inboxes.take(flow, max_bytes=2**20).landed, seconds=20, what="the file to be taken")
    with engine.begin() as connection:
        (asked,) = dispatch.request(
            connection, dispatch.lanes_to_dispatch(dispatch.lane_states(connection, flows=[name]), at_most=9)
        )
    if name == "modules":
        runs.instance.add_dynamic_partitions("sites", [str(SITE)])
    job = definitions.get_repository_def().get_job(name)
    result = job.execute_in_process(
        instance=runs.instance, partition_key=asked.lane.partition, tags=asked.tags()
    )
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT state, errors FROM ingestion.drops")).one()
        held = connection.scalar(sa.text("SELECT count(*) FROM ingestion.leases"))
    assert (row.state, held) == ("done", 0), row.errors
    begun = [event.step_key for event in result.all_events if event.event_type == Kind.STEP_START]
    assert begun == [f"{name}_claim"]
    written = [event.asset_key for event in result.get_asset_materialization_events()]
    assert set(written) == job.asset_layer.executable_asset_keys
    assert written[-1] == dg.AssetKey([name, "ingestion_log"])
    evaluated = {one.asset_check_key for one in result.get_asset_check_evaluations() if one.passed}
    assert evaluated == job.asset_layer.asset_graph.asset_check_keys
