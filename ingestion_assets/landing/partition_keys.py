"""What the ledger's partitions are called in Dagster, and the other way round. They are the same but for flows that name their keys."""

import pkgutil
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from ingestion_assets.landing.flows import Flow, Keys


def keys_of(connection: sa.Connection, flow: Flow | None, partitions: Collection[str]) -> Mapping[str, str]:
    """Dagster's key of each of the flow's partitions."""
    same = {one: one for one in partitions}
    if flow is None or not isinstance(flow.partitions, Keys) or flow.partitions.named is None:
        return same
    return same | pkgutil.resolve_name(flow.partitions.named)(connection, partitions)


def partition_of(flow: Flow, key: str) -> str:
    """The ledger's partition that Dagster's key stands for."""
    return flow.partitions.partition_of(key) if isinstance(flow.partitions, Keys) else key
