"""The tags that tie a Dagster run to what it was asked for. What begins with `.dagster/` the UI does not show: these are for programs."""

HIDDEN = ".dagster/ingestion_"
FLOW_TAG = f"{HIDDEN}flow"
LANE_TAG = f"{HIDDEN}lane"
DISPATCH_TAG = f"{HIDDEN}dispatch"
PARTITION_TAG = "dagster/partition"
LOCATION = "ingestion_assets"
"""The code location of our own flows, all of whose runs the workers take."""
SENSOR_TAG = "dagster/sensor_name"
"""By which the UI says who launched a run, and lists it on the sensor's page; the front door's runs carry it, too."""


def sensor_of(flow: str) -> str:
    """The name of the sensor that asks for a flow's runs, should the front door not have."""
    return f"{flow}_landed"
