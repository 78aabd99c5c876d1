"""The private parts of Dagster that runs, storages and the webserver depend on; no other module of ours uses any.

`test_dagster_internals.py` says which of them an upgrade has moved.
"""

import sys
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    compute_logical_data_version,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.job_base import IJob
from dagster._core.definitions.reconstruct import (
    ReconstructableJob,
    reconstruct_repository_def_from_pointer,
    repository_def_from_target_def,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import (
    DagsterEvent,
    DagsterEventBatchMetadata,
    EngineEventData,
    JobFailureData,
    RunFailureReason,
    generate_event_batch_id,
)
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.origin import JobPythonOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.dagster_run import FINISHED_STATUSES, IN_PROGRESS_RUN_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.sql import create_engine
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._serdes import ConfigurableClassData, deserialize_value
from dagster._utils import alter_sys_path
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers
from dagster._utils.log import configure_loggers
from dagster._utils.tags import TagConcurrencyLimitsCounter

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "CODE_VERSION_TAG",
    "DATA_VERSION_TAG",
    "DEFAULT_DATA_VERSION",
    "FINISHED_STATUSES",
    "IN_PROGRESS_RUN_STATUSES",
    "NULL_EVENT_POINTER",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetCheckExecutionsTable",
    "AssetGraph",
    "BulkActionStatus",
    "BulkActionsFilter",
    "CapturedLogContext",
    "CheckRunHealthResult",
    "CodePointer",
    "ConfigurableClassData",
    "DagsterEvent",
    "DagsterEventBatchMetadata",
    "DagsterExecutionInterruptedError",
    "EngineEventData",
    "IJob",
    "JobFailureData",
    "JobPythonOrigin",
    "LaunchRunContext",
    "LocalComputeLogManager",
    "QueuedRunCoordinator",
    "ReconstructableJob",
    "ResumeRunContext",
    "RunFailureReason",
    "RunLauncher",
    "RunQueueConfig",
    "SqlEventLogStorage",
    "SqlEventLogStorageTable",
    "SubmitRunContext",
    "TagConcurrencyLimitsCounter",
    "UnresolvedAssetJobDefinition",
    "WorkerStatus",
    "WorkspaceFileTarget",
    "WorkspaceProcessContext",
    "alter_sys_path",
    "capture_interrupts",
    "compute_logical_data_version",
    "configure_loggers",
    "create_engine",
    "deserialize_value",
    "execute_run_iterator",
    "generate_event_batch_id",
    "get_input_data_version_tag",
    "get_input_event_pointer_tag",
    "loadable_targets_from_python_module",
    "look_at_backfills_every",
    "recon_job_from_origin",
    "reconstruct_repository_def_from_pointer",
    "repository_def_from_target_def",
    "serializable_error_info_from_exc_info",
    "setup_interrupt_handlers",
    "take_limits_of_runs",
]


def look_at_backfills_every(seconds: int) -> None:
    """In Dagster's daemon: its pause between two looks at backfills, half a minute by default, which no setting of its own says."""
    controller = sys.modules.get("dagster._daemon.controller")
    if controller is not None:
        controller.DEFAULT_DAEMON_INTERVAL_SECONDS = seconds  # pyright: ignore[reportAttributeAccessIssue]


def take_limits_of_runs(instance: DagsterInstance) -> Mapping[str, Any]:
    """What the instance's `concurrency: runs:` says. Dagster knows it no more then: it would have it take the place of a coordinator's
    own limits."""
    settings: Mapping[str, Any] = instance._settings or {}
    concurrency = dict(settings.get("concurrency") or {})
    given = concurrency.pop("runs", None) or {}
    instance._settings = {**settings, "concurrency": concurrency}
    return given
