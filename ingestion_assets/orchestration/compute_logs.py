"""What runs write to stdout and stderr: kept as files of their own, but for the ledger's own runs, and where no folder is shared."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import DagsterInstance, Field, StringSource

from ingestion_assets.orchestration import kept_events
from ingestion_assets.orchestration.dagster_internals import (
    CapturedLogContext,
    ConfigurableClassData,
    LocalComputeLogManager,
)
from ingestion_assets.settings import load_settings


class SparingComputeLogManager(LocalComputeLogManager):
    """Dagster's own, in its own place, without two folders and three files for each run of the ledger.

    What those print goes to the log of their worker alone; so does what all runs print where payloads land on an object store, as
    the webserver may then be on another machine than these files.
    """

    def __init__(self, base_dir: str | None = None, inst_data: ConfigurableClassData | None = None) -> None:
        self._given = base_dir
        super().__init__(base_dir or "", inst_data=inst_data)

    def register_instance(self, instance: DagsterInstance) -> None:
        super().register_instance(instance)
        self._base_dir = self._given or instance.storage_directory()

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        if kept_events.is_sparing() or load_settings().landing_url:
            yield CapturedLogContext(log_key)
            return
        with super().capture_logs(log_key) as context:
            yield context

    @classmethod
    def config_type(cls) -> Any:
        where = "Default: `storage` in DAGSTER_HOME."
        return {"base_dir": Field(StringSource, is_required=False, description=where)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data=inst_data, **config_value)
