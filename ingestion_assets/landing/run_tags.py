"""The tags that tie a Dagster run to what it was asked for."""

FLOW_TAG = "ingestion/flow"
LANE_TAG = "ingestion/lane"
DISPATCH_TAG = "ingestion/dispatch"
PARTITION_TAG = "dagster/partition"
