"""Command prefixes that bind a server to its parent's life and keep PostgreSQL from running as root."""

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path


def bound_to_parent(command: Sequence[str], *, signal: str) -> tuple[str, ...]:
    """`command`, sent `signal` (`KILL`, `INT`…) by the kernel when its parent dies (needs `setpriv`)."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", signal, "--", *command) if setpriv else tuple(command)


def unprivileged_user() -> pwd.struct_passwd | None:
    """The account that PostgreSQL runs as when we are root; None for ordinary users, who run it themselves.

    Raises:
        LookupError: root, and the system has neither an account `postgres` nor `nobody`.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError(
        "PostgreSQL does not run as root and there is no user `postgres` or `nobody` to run it as."
    )


def give(user: pwd.struct_passwd, *paths: Path) -> None:
    """Make `user` the owner of `paths`.

    Raises:
        PermissionError: we are root in name only, as in a container that has no other account.
    """
    for path in paths:
        try:
            os.chown(path, user.pw_uid, user.pw_gid)
        except OSError as error:
            raise PermissionError(
                f"root may not give {path} to the user {user.pw_name} here ({error.strerror}), and PostgreSQL does not "
                "run as root: start it as an ordinary user, or set INGESTION_POSTGRES_URL to a server of your own."
            ) from error


def as_unprivileged(
    command: Sequence[str], *, user: pwd.struct_passwd | None, folder: str
) -> tuple[str, ...]:
    """`command`, run as `user` (None: as we are), in `folder` below the present one, without any capability.

    Raises:
        FileNotFoundError: root on a system without util-linux' `setpriv`.
    """
    # -P: else the shell goes by the whole path, whose beginning may be closed to the user.
    inside = ("/bin/sh", "-c", 'cd -P "$0" && exec "$@"', folder, *command)
    if user is None:
        return inside
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise FileNotFoundError(
            "PostgreSQL does not run as root and `setpriv` (util-linux) is missing; run as an ordinary user."
        )
    identity = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return (setpriv, *identity, "--inh-caps=-all", "--", *inside)
