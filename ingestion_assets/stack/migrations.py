"""Bringing the stores up to date before anything uses them: our schema, Dagster's own tables, what flows bring."""

import logging
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import as_file, files

import sqlalchemy as sa
import tenacity
from pymongo.errors import ConnectionFailure
from sqlalchemy.exc import ProgrammingError

from ingestion_assets.installed_flows import installed, parts
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.stores.postgres import engine, migrate, migrate_flow

log = logging.getLogger(__name__)
_INDEX = sa.text(
    "CREATE INDEX CONCURRENTLY ingestion_newest_check "
    "ON public.asset_check_executions (asset_key, check_name, partition, id)"
)
_INDEX_IS_VALID = sa.text(
    "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.ingestion_newest_check')"
)
_STATE = sa.text("SELECT obj_description(to_regclass('public.runs'), 'pg_class')")


def migrate_stores(settings: Settings) -> None:
    """Migrate our schema, what flows bring and, if this release of Dagster has not been here yet, Dagster's tables.

    `import dagster` takes seconds, so a comment on the table `runs` remembers what has been done.
    """
    migrate()
    _migrate_flows()
    wanted = f"dagster {version('dagster')}, gpu {settings.workers_gpu}, checks by partition"
    with engine().connect() as connection:
        done = connection.execute(_STATE).scalar()
    if done != wanted:
        _migrate_dagster(gpu_slots=settings.workers_gpu)
        index_checks()
        with engine().begin() as connection:
            # COMMENT takes no parameters; the text is made of a version and a number.
            connection.execute(sa.text(f"COMMENT ON TABLE public.runs IS '{wanted}'"))
    _prepare_flows()


def _migrate_flows() -> None:
    """The tables that flows bring. What fails of a foreign flow is said, and fails its runs; the others go on."""
    found = installed()
    for name, flow in found.flows.items():
        if flow.migrations is None:
            continue
        package, _, folder = flow.migrations.partition(":")
        try:
            with as_file(files(package) / folder) as revisions:
                migrate_flow(name, revisions)
        except Exception as error:
            if name not in found.foreign:
                raise
            log.error(
                "The tables of the flow %s (%s) cannot be migrated: %s", name, flow.migrations, text_of(error)
            )


def _prepare_flows() -> None:
    """What flows need in other stores, such as indexes."""
    parts(installed(), "prepare", lambda _flow, prepare: _prepared(prepare))


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(ConnectionFailure),
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.5),
    reraise=True,
)
def _prepared(prepare: Callable[[], None]) -> None:
    prepare()


# The code server starts meanwhile and makes them too, if they are not there: the second to come finds half of them.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(ProgrammingError),
    stop=tenacity.stop_after_attempt(10),
    wait=tenacity.wait_fixed(0.5),
    reraise=True,
)
def _migrate_dagster(*, gpu_slots: int) -> None:
    from dagster import DagsterInstance  # noqa: PLC0415

    with DagsterInstance.get() as instance:
        instance.upgrade()
        instance.event_log_storage.set_concurrency_slots("gpu", max(gpu_slots, 1))


def index_checks() -> None:
    """An index of ours on a table of Dagster's, by which each run finds what its checks said of its partition. Nothing is locked for it."""
    concurrently = engine().execution_options(isolation_level="AUTOCOMMIT")
    with concurrently.connect() as connection:
        valid = connection.scalar(_INDEX_IS_VALID)
        if valid is False:  # it was interrupted
            connection.execute(sa.text("DROP INDEX CONCURRENTLY public.ingestion_newest_check"))
        if not valid:
            connection.execute(_INDEX)


if __name__ == "__main__":
    migrate_stores(load_settings())
