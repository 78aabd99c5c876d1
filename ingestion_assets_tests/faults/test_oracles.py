"""A campaign that finds nothing must be able to find something. Comes last: it leaves the tables damaged."""

import psycopg
import pytest
from pymongo import MongoClient

from ingestion_assets_tests.faults.conftest import Cramped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_single_wrong_value_of_each_flow_is_noticed(cramped: Cramped) -> None:
    running = cramped.campaign
    running.strike(payloads=3)
    before = running.audit()
    assert before.is_clean, before
    environment = running.stack.environment
    with psycopg.connect(environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        connection.execute(
            "UPDATE entities.customers SET address = 'elsewhere'"
            " WHERE customer_key = (SELECT min(customer_key) FROM entities.customers)"
        )
        connection.execute(
            "UPDATE ingestion.module_states SET name = 'Other' WHERE (site_id, machine_name, sequence) ="
            " (SELECT site_id, machine_name, sequence FROM ingestion.module_states"
            " WHERE until_sequence IS NULL AND present LIMIT 1)"
        )
    with MongoClient(environment["INGESTION_MONGODB_URL"]) as client:
        client["ingestion"].messages.update_one({}, {"$set": {"record.type": "other"}})
    found = running.audit()
    assert {said.partition(":")[0] for said in found.different} == {"conversations", "modules", "entities"}
