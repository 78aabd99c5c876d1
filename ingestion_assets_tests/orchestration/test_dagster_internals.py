"""What our classes override in Dagster, and what they call beyond its public interface, is still as it was.

A failure names what an upgrade has moved: read the new code there, then put the new parameters down here.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingestion_assets.orchestration import (
    compute_logs,
    coordinator,
    dagster_internals,
    launcher,
    storages,
    warm_code,
)
from ingestion_assets.orchestration.dagster_internals import (
    AssetCheckExecutionsTable,
    RunQueueConfig,
    SqlEventLogStorageTable,
)

OVERRIDDEN = {
    coordinator.LaneRunCoordinator: {
        "from_config_value": "cls inst_data config_value", "get_run_queue_config": "self", "submit_run": "self context",
        "register_instance": "self instance",
    },
    compute_logs.SparingComputeLogManager: {
        "register_instance": "self instance", "capture_logs": "self log_key", "config_type": "cls",
        "from_config_value": "cls inst_data config_value",
    },
    storages.PooledPostgresRunStorage: {
        "has_run_stats_index_cols": "self", "has_bulk_actions_selector_cols": "self", "has_backfill_id_column": "self",
        "has_bulk_action_job_name_column": "self", "has_backfill_tags_table": "self", "get_cursor_values": "self keys",
    },
    storages.PooledPostgresEventLogStorage: {
        "has_table": "self table_name", "has_asset_key_col": "self column_name", "store_event": "self event",
        "_has_asset_key_col_on_connection": "self conn column_name", "store_event_batch": "self events",
    },
    storages.PooledPostgresScheduleStorage: {
        "has_secondary_index_table": "self", "_has_instigators_table": "self conn",
        "_has_asset_daemon_asset_evaluations_table": "self conn",
    },
    launcher.WarmRunLauncher: {
        "launch_run": "self context", "terminate": "self run_id", "resume_run": "self context",
        "register_instance": "self instance", "dispose": "self", "join": "self timeout",
        "check_run_worker_health": "self run", "get_run_worker_debug_info": "self run include_container_logs",
        "config_type": "cls", "from_config_value": "cls inst_data config_value",
    },
    warm_code.WarmJob: {
        "get_definition": "self", "get_repository_definition": "self",
        "get_subset": "self op_selection asset_selection asset_check_selection",
    },
}  # fmt: skip
CALLED = {
    "ConfigurableClassData": "module_name class_name config_yaml",
    "JobPythonOrigin": "job_name repository_origin",
    "TagConcurrencyLimitsCounter": "tag_concurrency_limits in_progress_tagged_items",
    "DagsterEventBatchMetadata": "id is_end",
    "capture_interrupts": "",
    "compute_logical_data_version": "code_version input_data_versions",
    "execute_run_iterator": "job dagster_run instance resume_from_failure",
    "loadable_targets_from_python_module": "module_name working_directory remove_from_path_fn",
    "reconstruct_repository_def_from_pointer": "pointer repository_load_data",
    "repository_def_from_target_def": "target",
    "serializable_error_info_from_exc_info": "exc_info hoist_user_code_error",
    "setup_interrupt_handlers": "",
}


def _parameters(function: Any) -> str:
    return " ".join(inspect.signature(getattr(function, "__func__", function)).parameters)


def _of_dagster(ours: type, name: str) -> Any:
    found = (vars(parent)[name] for parent in ours.__mro__[1:] if name in vars(parent))
    method = next(found, None)
    assert method is not None, f"Dagster has no {name} any more that {ours.__name__} could override"
    return method


@pytest.mark.parametrize(
    ("ours", "name"), [(ours, name) for ours, names in OVERRIDDEN.items() for name in names]
)
def test_what_is_overridden_takes_the_same(ours: type, name: str) -> None:
    assert _parameters(_of_dagster(ours, name)) == OVERRIDDEN[ours][name]


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_nothing_that_is_overridden_is_left_out_above(ours: type) -> None:
    assert {name for name in _overriding(ours) if callable(getattr(ours, name))} == set(OVERRIDDEN[ours])


def _overriding(ours: type) -> Iterator[str]:
    for name in vars(ours):
        if (
            not name.startswith("__")
            and name != "_abc_impl"
            and any(name in vars(parent) for parent in ours.__mro__[1:])
        ):
            yield name


@pytest.mark.parametrize("name", CALLED)
def test_what_is_called_takes_the_same(name: str) -> None:
    function: Callable[..., object] = getattr(dagster_internals, name)
    assert _parameters(function) == CALLED[name]


def test_what_is_changed_in_place_is_there() -> None:
    assert {"max_concurrent_runs", "tag_concurrency_limits"} <= set(RunQueueConfig._fields)
    assert str(SqlEventLogStorageTable.c.event.type.compile()) == "TEXT"
    assert str(AssetCheckExecutionsTable.c.evaluation_event.type.compile()) == "TEXT"
