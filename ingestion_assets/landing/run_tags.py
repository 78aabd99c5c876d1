"""The tags that tie a Dagster run to what it was asked for."""

FLOW_TAG = "ingestion/flow"
LANE_TAG = "ingestion/lane"
DISPATCH_TAG = "ingestion/dispatch"
PARTITION_TAG = "dagster/partition"

LOCATION = "ingestion_assets"
"""The code location of the flows: whose jobs are asked for, and whose runs the workers take."""
