"""Repositories loaded once per worker, so that a run finds its job built."""

import gc
import importlib
import logging
import time
from collections.abc import Iterable
from typing import Any

from dagster import AssetCheckKey, AssetKey, JobDefinition, RepositoryDefinition
from dagster._core.code_pointer import CodePointer, ModuleCodePointer
from dagster._core.definitions.job_base import IJob
from dagster._core.definitions.reconstruct import (
    reconstruct_repository_def_from_pointer,
    repository_def_from_target_def,
)
from dagster._core.origin import JobPythonOrigin
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module

logger = logging.getLogger(__name__)

_repositories: dict[object, RepositoryDefinition] = {}

# What runs import sooner or later, and what is cheap to hold.
MODULES = (
    "dagster._core.execution.api",
    "dagster._grpc.impl",
    "dagster_postgres",
    "pymongo",
    "psycopg",
    "sqlalchemy",
    # What the assets import where they start to work.
    "ingestion_assets.orchestration.claiming",
    "ingestion_assets.conversations.work",
    "ingestion_assets.conversations.audit",
    "ingestion_assets.entities.work",
    "ingestion_assets.landing.storage",
    "ingestion_assets.modules.feed",
    "ingestion_assets.modules.work",
)


class WarmJob(IJob):
    """A job out of a repository that is loaded already."""

    def __init__(self, *, repository: RepositoryDefinition, definition: JobDefinition) -> None:
        self._repository = repository
        self._definition = definition

    def get_definition(self) -> JobDefinition:
        return self._definition

    def get_repository_definition(self) -> RepositoryDefinition:
        return self._repository

    def get_subset(
        self,
        *,
        op_selection: Iterable[str] | None = None,
        asset_selection: Any = None,
        asset_check_selection: Any = None,
    ) -> "WarmJob":
        assets: set[AssetKey] | None = asset_selection
        checks: set[AssetCheckKey] | None = asset_check_selection
        subset = self._repository.get_maybe_subset_job_def(
            self._definition.name,
            op_selection=op_selection,
            asset_selection=assets,
            asset_check_selection=checks,
        )
        return WarmJob(repository=self._repository, definition=subset)

    @property
    def op_selection(self) -> Any:
        return self._definition.op_selection

    @property
    def asset_selection(self) -> Any:
        return self._definition.asset_selection

    @property
    def asset_check_selection(self) -> Any:
        return self._definition.asset_check_selection


def preload(module: str) -> RepositoryDefinition:
    """Load the one code location that `module` defines, with all its jobs, and keep it."""
    started = time.monotonic()
    for name in MODULES:
        importlib.import_module(name)
    target = loadable_targets_from_python_module(module, working_directory=None)[0].target_definition
    repository = repository_def_from_target_def(target)
    if repository is None:
        raise TypeError(f"{module} defines no Definitions object")
    for job in repository.get_all_jobs():
        job.get_job_snapshot_id()
    _repositories[module] = repository
    gc.collect()
    gc.freeze()  # forked children share these pages as long as nobody's collector touches them
    logger.info("Loaded %s in %.1f s", module, time.monotonic() - started)
    return repository


def warm_job(origin: JobPythonOrigin) -> WarmJob:
    """The job that a run's code origin points at; loads its repository where that is not loaded yet."""
    pointer: CodePointer = origin.repository_origin.code_pointer
    key = pointer.module if isinstance(pointer, ModuleCodePointer) else pointer
    repository = _repositories.get(key)
    if repository is None:
        repository = reconstruct_repository_def_from_pointer(pointer)
        _repositories[key] = repository
    return WarmJob(repository=repository, definition=repository.get_job(origin.job_name))
