"""Which program gets which secrets: each those that it uses, so that one that is read out tells no more than it must."""

import re
from collections.abc import Iterable, Mapping

from ingestion_assets.settings import secrets_of_flows

SECRETS = frozenset(
    {
        "admin_token", "api_key", "dagster_headers", "embedding_endpoints", "kafka_url", "mongodb_url", "notify_url", "postgres_url", "redis_url", "secret_key", "secret_keys", "webserver_password",
    }
)  # fmt: skip
"""The settings that hold a secret; the URLs of stores carry passwords."""

OWN_CODE_SERVER = "own-code-server"
"""Whichever location of the user's it serves."""
_DAGSTER = frozenset({"postgres_url", "redis_url"})
USED: Mapping[str, frozenset[str]] = {
    "frontdoor": frozenset(
        {
            "admin_token",
            "dagster_headers",
            "embedding_endpoints",
            "kafka_url",
            "mongodb_url",
            "postgres_url",
            "redis_url",
            "secret_key",
            "secret_keys",
            "webserver_password",
        }
    ),
    "webserver": _DAGSTER | {"webserver_password"},
    "code-server": _DAGSTER | {"notify_url"},  # sensors read the ledger, look at the broker, tell of failures
    "daemon": _DAGSTER,
    "worker-default": _DAGSTER | {"mongodb_url", "embedding_endpoints"},
    "worker-gpu": _DAGSTER | {"mongodb_url", "embedding_endpoints", "secret_key", "secret_keys"},
    "worker-batch": _DAGSTER
    | {"embedding_endpoints", "secret_key", "secret_keys"},  # opens the credentials of sources
    "migrations": _DAGSTER | {"mongodb_url"},
    # A user's flows are read and put in force there: it makes their tables, and seals the secrets of their senders. Its plain assets
    # run as its children, with whatever else the user's shell held.
    OWN_CODE_SERVER: _DAGSTER | {"mongodb_url", "secret_key", "secret_keys"},
    # Loads that code, too, and asks the webserver.
    "code-watch": _DAGSTER
    | {"dagster_headers", "mongodb_url", "secret_key", "secret_keys", "webserver_password"},
}
"""By program; the embedded servers are not here: they get none."""

_WORKERS = frozenset({"worker-default", "worker-gpu", "worker-batch"})
_OPENS_LANDING = frozenset({"frontdoor", "code-server", OWN_CODE_SERVER, "code-watch"}) | _WORKERS
_WORKS_FOR_FLOWS = frozenset({"frontdoor", OWN_CODE_SERVER, "code-watch"}) | _WORKERS
_OBJECT_STORE = re.compile(r"(AWS|AZURE|GOOGLE|GCS?)_", re.IGNORECASE)
_LOOKS_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)API_?KEY|PRIVATE_?KEY", re.IGNORECASE)


def withheld(program: str, environment: Iterable[str], *, runs_in_code_server: bool = False) -> list[str]:
    """The variables of `environment` that `program` does not get. Code servers get what workers get where runs are their children.

    What is ours is known by its name, a flow's own secret by its type: front door and workers get it. What else the shell held (keys of object stores, tokens of other tools)
    is kept from the embedded servers, and the former from whoever opens no landing storage.
    """
    if program.startswith("code-server-"):
        program = OWN_CODE_SERVER
    executes_runs = runs_in_code_server and program in ("code-server", OWN_CODE_SERVER)
    used = USED.get(program, frozenset())
    if executes_runs:
        used = used.union(*(USED[worker] for worker in _WORKERS))
    ours = {f"INGESTION_{name.upper()}" for name in SECRETS - used}
    if program not in _WORKS_FOR_FLOWS and not executes_runs:
        ours |= secrets_of_flows()
    return sorted(
        name
        for name in environment
        if name in ours
        or (program not in _OPENS_LANDING and _OBJECT_STORE.match(name))
        or (program not in USED and _LOOKS_SECRET.search(name))
    )
