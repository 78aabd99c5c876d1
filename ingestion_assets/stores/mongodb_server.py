"""`python -m ingestion_assets.stores.mongodb_server`: the embedded MongoDB server, which lets in its own user alone.

SecantusDB's own command asks for a password only if a user was made before, through a server that asks nobody.
Here the user is written before the first connection is taken, so there is no moment at which anybody is let in.
"""

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

from secantus.auth import SCRAM_SHA_256, derive_credentials
from secantus.server import SecantusDBServer

from ingestion_assets.stores.embedded import MONGODB_USER as USER

_ITERATIONS = 4096
"""The fewest that drivers accept. More would slow down each connection, and nobody guesses 24 random bytes."""


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="mongodb_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="Holds `password`.")
    parser.add_argument("--data", type=Path, required=True, help="Where the data lies.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    password = (options.folder / "password").read_text(encoding="ascii").strip()
    try:
        server = SecantusDBServer(
            host=options.host, port=options.port, storage_path=str(options.data), require_auth=True,
            enable_test_commands=False, sync_on_commit=True, cache_size="512M", oplog_max_entries=10_000,
        )  # fmt: skip
        server.storage.add_user("admin", USER, _user(password), replace=True)
    except Exception as error:  # of WiredTiger, whose classes are not ours to know: the log is for people
        sys.exit(f"mongodb_server: {options.data} cannot be opened: {error}")

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        server.start()
    except OSError as error:
        server.storage.close()
        sys.exit(f"mongodb_server: {options.host}:{options.port}: {error.strerror}")
    server.wait()


def _user(password: str) -> dict[str, object]:
    """What `createUser` keeps."""
    return {
        "_id": f"admin.{USER}",
        "user": USER,
        "db": "admin",
        "credentials": derive_credentials(password, iterations=_ITERATIONS, username=USER).to_doc(),
        "roles": [{"role": "root", "db": "admin"}],
        "mechanisms": [SCRAM_SHA_256],
    }


if __name__ == "__main__":
    main()
