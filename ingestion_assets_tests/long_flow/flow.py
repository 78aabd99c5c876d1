"""A flow of the tests whose payloads are many small steps; in a stack by `INGESTION_FLOWS=ingestion_assets_tests.long_flow.flow`."""

from ingestion_assets.landing.flows import Flow, Runs, Scope

NAME = "long_tests"
LANES = 8

FLOW = Flow(
    name=NAME,
    scope=Scope(name=NAME),
    lane_of=lambda partition, number: f"{partition}-{number % LANES}",
    runs=Runs(longest_s=6 * 3600),
    definitions="ingestion_assets_tests.long_flow.definitions:definitions",
    http="ingestion_assets_tests.long_flow.http:HTTP",
    work=["ingestion_assets_tests.long_flow.work"],
)
