"""A flow of the tests whose runs are for the queue `gpu`; by `INGESTION_FLOWS=ingestion_assets_tests.frontdoor.gpu_flow`."""

from ingestion_assets.landing.flows import Flow, Runs

# The front door, all that the tests start, never loads the definitions.
FLOW = Flow(
    name="notes",
    runs=Runs(queue="gpu"),
    definitions="ingestion_assets_tests.long_flow.definitions:definitions",
)
