"""The one Definitions object, merged from the flows, and what says when to make it again; nothing else."""

import logging
from collections.abc import Collection
from typing import Any

import dagster as dg

from ingestion_assets.installed_flows import come_and_gone, installed, parts
from ingestion_assets.landing.flows import Flow
from ingestion_assets.orchestration import landing_assets
from ingestion_assets.orchestration.key_retention import key_retention_definitions
from ingestion_assets.orchestration.notifying import failure_notifications
from ingestion_assets.orchestration.retention_job import retention_definitions
from ingestion_assets.orchestration.run_retention import run_retention_definitions
from ingestion_assets.orchestration.sensors import reconciliation_sensor

log = logging.getLogger(__name__)


def _made(_flow: Flow, part: Any) -> dg.Definitions:
    return part if isinstance(part, dg.Definitions) else part()


def _merged(flows: Collection[str], of_flow: dict[str, dg.Definitions]) -> dg.Definitions:
    known = [found.flows[name] for name in flows]
    return dg.Definitions.merge(
        *(of_flow[name] for name in flows),
        landing_assets.definitions,
        retention_definitions(known, others=come_and_gone),
        key_retention_definitions(known, others=come_and_gone),
        run_retention_definitions(),
        dg.Definitions(
            sensors=[
                reconciliation_sensor(known, found=list(found.flows), others=come_and_gone),
                failure_notifications,
            ],
            executor=dg.in_process_executor,
        ),
    )


def _build() -> dg.Definitions:
    """All that can be merged. A foreign flow whose definitions do not go with the others is left out."""
    of_flow, _ = parts(found, "definitions", _made)
    taken = [name for name in of_flow if name not in found.foreign]
    for name in (name for name in of_flow if name in found.foreign):
        try:
            _merged([*taken, name], of_flow).get_repository_def()
        except Exception as error:  # whatever Dagster finds in the definitions of others
            log.error(
                "The definitions of the flow %s do not go with the others; it is left out: %s", name, error
            )
        else:
            taken.append(name)
    return _merged(taken, of_flow)


found = installed()
definitions = _build()


def definitions_version() -> tuple[object, ...]:
    """Changes when the definitions do: warm workers then load this module again."""
    versions, _ = parts(found, "definitions_version", lambda _flow, version: version())
    return tuple(versions.values())
