"""Definitions loaded once per worker, so that a run finds its job built."""

import gc
import importlib
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dagster import AssetCheckKey, AssetKey, JobDefinition, RepositoryDefinition

from ingestion_assets.orchestration.dagster_internals import (
    CodePointer,
    IJob,
    JobPythonOrigin,
    ReconstructableJob,
    alter_sys_path,
    loadable_targets_from_python_module,
    recon_job_from_origin,
    reconstruct_repository_def_from_pointer,
    repository_def_from_target_def,
)
from ingestion_assets.orchestration.project_code import Stamp, TooManyFilesError, forget, recall, stamp
from ingestion_assets.own_modules import OURS, OwnModule

logger = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    repository: RepositoryDefinition
    version: object


IN_PROCESS = "in_process"


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
    """What a worker has loaded of the code locations that its runs come from.

    A project's code is loaded again before the first run after a file of it changed, and so never older than what its code
    location has. A code location that cannot be loaded then leaves its last that could at work, as Dagster's does.
    """

    def __init__(self) -> None:
        self._loaded: dict[object, _Loaded] = {}
        self._imported: dict[Path, Stamp | None] = {}
        """How a project's files were when its modules that are imported now were."""

    def preload(
        self,
        module: str,
        *,
        work: Iterable[str] = (),
        own: Iterable[OwnModule] = (),
        project: Path | None = None,
    ) -> None:
        """Load the code location that `module` defines, with all its jobs, and keep it; the flows' `work` before, and what the
        `own` modules in the folder `project` define after."""
        for name in MODULES:
            importlib.import_module(name)
        for name in work:
            try:
                importlib.import_module(name)
            except Exception:  # one flow's fault; its runs will fail with it, and say so
                logger.exception("The module %s, which a flow names as its work, cannot be loaded", name)
        self._load_module(module)
        for one in own:
            try:
                _make_jobs(self.of(_pointer(one, project or Path.cwd())))
            except Exception:  # its runs try again, and say so
                logger.exception("The code location %s cannot be loaded", one.location)
        gc.collect()
        gc.freeze()  # forked children share these pages as long as nobody's collector touches them

    def job(self, origin: JobPythonOrigin) -> IJob:
        """The job that a run's code origin points at, loaded where it is not yet, or has changed."""
        repository = self.of(origin.repository_origin.code_pointer)
        definition = repository.get_job(origin.job_name)
        if definition.executor_def.name == IN_PROCESS:
            return WarmJob(repository=repository, definition=definition)
        return recon_job_from_origin(origin)  # its executor has other processes make it again

    def of(self, pointer: CodePointer) -> RepositoryDefinition:
        """The repository that is defined there, as the files are now."""
        project = _project(pointer)
        if project is None:
            module = _module(pointer)
            loaded = self._loaded.get(module)
            if loaded is None or loaded.version != _version(module):
                loaded = self._load_module(module)
            return loaded.repository
        now, kept = _stamp(project), self._loaded.get(pointer)
        if kept is not None and kept.version == now:
            return kept.repository
        as_before = self._imported.setdefault(project, now) == now
        modules = {} if as_before else forget(project)
        if not as_before:
            _forget_made_jobs()
        try:
            repository = _load(pointer, project)
        except Exception:
            if not as_before:
                recall(project, modules)
            if kept is None:
                raise
            logger.exception(
                "What changed in %s cannot be loaded; runs of %s go on with what was loaded before",
                project,
                pointer.describe(),
            )
            return kept.repository
        self._imported[project] = now
        self._loaded[pointer] = _Loaded(repository, now)
        return repository

    def _load_module(self, module: str) -> _Loaded:
        started = time.monotonic()
        imported = importlib.import_module(module)
        version = _version(module)
        if module in self._loaded:
            importlib.reload(imported)
        target = loadable_targets_from_python_module(module, working_directory=None)[0].target_definition
        repository = repository_def_from_target_def(target)
        if repository is None:
            raise TypeError(f"{module} defines no Definitions object")
        _make_jobs(repository)
        self._loaded[module] = _Loaded(repository, version)
        logger.info("Loaded %s in %.1f s", module, time.monotonic() - started)
        return self._loaded[module]


def _load(pointer: CodePointer, project: Path) -> RepositoryDefinition:
    started = time.monotonic()
    sys.dont_write_bytecode = True  # of a file that may change again within its second
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    importlib.invalidate_caches()
    repository = reconstruct_repository_def_from_pointer(pointer)
    logger.info("Loaded %s in %.1f s", pointer.describe(), time.monotonic() - started)
    return repository


def _make_jobs(repository: RepositoryDefinition) -> None:
    """Now, instead of with the first run of each."""
    for job in repository.get_all_jobs():
        job.get_job_snapshot_id()


def _version(module: str) -> object:
    """What the module's `definitions_version` gives, where it has one: when that changes, it is loaded again."""
    says = getattr(sys.modules.get(module), "definitions_version", None)
    return None if says is None else says()


def _module(pointer: CodePointer) -> str:
    return getattr(pointer, "module", "")


def _project(pointer: CodePointer) -> Path | None:
    """The folder of the project that the code is of; None of ours, which changes with a release."""
    if _module(pointer).partition(".")[0] == OURS:
        return None
    file = getattr(pointer, "python_file", None)
    folder = getattr(pointer, "working_directory", None) or (Path(file).parent if file else Path())
    return Path(folder).absolute()


def _pointer(own: OwnModule, project: Path) -> CodePointer:
    """As the code location makes it, so that the worker's is the run's."""
    folder = str(project)
    attribute = own.attribute
    if attribute is None:
        with alter_sys_path(to_add=[folder], to_remove=[]):
            attribute = loadable_targets_from_python_module(own.module, working_directory=folder)[0].attribute
    return CodePointer.from_module(own.module, attribute, folder)


def _stamp(project: Path) -> Stamp | None:
    try:
        return stamp(project)
    except TooManyFilesError as error:
        logger.warning("%s; workers load it again when they are started", error)
        return None


def _forget_made_jobs() -> None:
    """Dagster keeps the last job that it made from an origin."""
    ReconstructableJob.get_definition.cache_clear()
    ReconstructableJob.get_repository_definition.cache_clear()


def load_own(one: OwnModule, project: Path) -> RepositoryDefinition:
    """Load a project's code location, with all that is in it. Raises what its code raises."""
    repository = WarmCode().of(_pointer(one, project))
    repository.load_all_definitions()
    return repository
