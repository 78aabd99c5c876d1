"""Definitions loaded once per worker, so that a run finds its job built."""

import gc
import importlib
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from dagster import AssetCheckKey, AssetKey, JobDefinition, RepositoryDefinition

from ingestion_assets.orchestration.dagster_internals import (
    CodePointer,
    IJob,
    JobPythonOrigin,
    ModuleCodePointer,
    loadable_targets_from_python_module,
    reconstruct_repository_def_from_pointer,
    repository_def_from_target_def,
)

logger = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    repository: RepositoryDefinition
    version: object


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
    "ingestion_assets.landing.storage",
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


class WarmCode:
    """What a worker has loaded of the code locations that its runs come from."""

    def __init__(self) -> None:
        self._loaded: dict[object, _Loaded] = {}

    def preload(self, module: str, *, work: Iterable[str] = ()) -> RepositoryDefinition:
        """Load the one code location that `module` defines, with all its jobs, and keep it; the flows' `work` before."""
        for name in MODULES:
            importlib.import_module(name)
        for name in work:
            try:
                importlib.import_module(name)
            except Exception:  # one flow's fault; its runs will fail with it, and say so
                logger.exception("The module %s, which a flow names as its work, cannot be loaded", name)
        loaded = self._load(module)
        gc.collect()
        gc.freeze()  # forked children share these pages as long as nobody's collector touches them
        return loaded.repository

    def job(self, origin: JobPythonOrigin) -> WarmJob:
        """The job that a run's code origin points at; loads its repository where that is not loaded yet, or has changed."""
        pointer: CodePointer = origin.repository_origin.code_pointer
        key = pointer.module if isinstance(pointer, ModuleCodePointer) else pointer
        loaded = self._loaded.get(key)
        if isinstance(pointer, ModuleCodePointer):
            if loaded is None or loaded.version != _version(pointer.module):
                loaded = self._load(pointer.module)
        elif loaded is None:
            loaded = self._loaded[key] = _Loaded(reconstruct_repository_def_from_pointer(pointer), None)
        return WarmJob(repository=loaded.repository, definition=loaded.repository.get_job(origin.job_name))

    def _load(self, module: str) -> _Loaded:
        started = time.monotonic()
        imported = importlib.import_module(module)
        version = _version(module)
        if module in self._loaded:
            importlib.reload(imported)
        target = loadable_targets_from_python_module(module, working_directory=None)[0].target_definition
        repository = repository_def_from_target_def(target)
        if repository is None:
            raise TypeError(f"{module} defines no Definitions object")
        for job in repository.get_all_jobs():
            job.get_job_snapshot_id()
        self._loaded[module] = _Loaded(repository, version)
        logger.info("Loaded %s in %.1f s", module, time.monotonic() - started)
        return self._loaded[module]


def _version(module: str) -> object:
    """What the module's `definitions_version` gives, where it has one: when that changes, it is loaded again."""
    says = getattr(sys.modules.get(module), "definitions_version", None)
    return None if says is None else says()
