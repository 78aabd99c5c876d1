"""What ends a command, as a sentence and an exit status instead of a traceback.

Exit statuses: 1, what was asked for cannot be done; 2, the command line or the settings are wrong, or what they lead to does not
answer. `ingestion status` and `env` have 3 for a stack that does not run.
"""

import os

CANNOT, NOT_USABLE = 1, 2
_STORES = {
    "psycopg": ("PostgreSQL", "INGESTION_POSTGRES_URL"),
    "psycopg2": ("PostgreSQL", "INGESTION_POSTGRES_URL"),
    "sqlalchemy": ("PostgreSQL", "INGESTION_POSTGRES_URL"),
    "pymongo": ("MongoDB", "INGESTION_MONGODB_URL"),
    "bson": ("MongoDB", "INGESTION_MONGODB_URL"),
    "redis": ("Redis", "INGESTION_REDIS_URL"),
}
_BEGINNINGS = {
    "PostgreSQL": "postgresql://user:password@host:5432/", "MongoDB": "mongodb://host:27017/", "Redis": "redis://host:6379/",
}  # fmt: skip
_NO_ANSWER = {
    "OperationalError",
    "InterfaceError",
    "ServerSelectionTimeoutError",
    "AutoReconnect",
    "ConnectionError",
}
_NO_ADDRESS = {"ArgumentError", "InvalidURI", "ConfigurationError", "NoSuchModuleError"}
_OTHER_SCHEMA = {"UndefinedTable", "UndefinedColumn", "InvalidSchemaName"}


def ending(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit status for an error that a person can do something about; None for any other."""
    from ingestion_assets.settings import MissingSettingError, wrong_settings  # noqa: PLC0415

    if isinstance(error, ValueError) and (told := wrong_settings(error)) is not None:
        return told, NOT_USABLE
    if isinstance(error, MissingSettingError):
        return str(error), NOT_USABLE
    if isinstance(error, OSError) and error.filename is not None:  # a file or folder
        from ingestion_assets.stack.failures import explained  # noqa: PLC0415

        return explained(error), CANNOT
    return _of_store(error)


def _of_store(error: Exception) -> tuple[str, int] | None:
    kind = type(error)
    store = _STORES.get(kind.__module__.partition(".")[0])
    if store is None:
        return None
    name, variable = store
    original = getattr(error, "orig", None)
    if kind.__name__ in _NO_ANSWER:
        said = str(original or error).strip().partition("\n")[0].partition(", Timeout")[0]
        mend = (
            f"that {variable} is right"
            if os.environ.get(variable)
            else "`ingestion status` shows the stack of this home"
        )
        return f"{name} does not answer ({said}). See that it runs: {mend}.", NOT_USABLE
    if kind.__name__ in _NO_ADDRESS:
        return f"{variable} is no address of {name}: it has to begin like {_BEGINNINGS[name]}", NOT_USABLE
    if type(original or error).__name__ in _OTHER_SCHEMA:
        return f"The database is of another release: {original or error}".partition("\n")[0] + (
            ". Start the stack once with `ingestion up`, or run `python -m ingestion_assets.stack.migrations`."
        ), NOT_USABLE
    return None
