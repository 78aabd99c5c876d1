"""Command prefixes that bind a server to its parent's life and keep PostgreSQL from running as root."""

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

# Bits of Linux' capability masks, see capability.h.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


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


def as_unprivileged(command: Sequence[str], *, user: pwd.struct_passwd | None) -> tuple[str, ...]:
    """`command`, run as `user` (None: as we are), still able to enter folders closed to that user.

    The home and the virtual environment commonly lie below root's own 0700 folder. Instead of opening it to
    everybody, the server keeps the one capability to search folders.

    Raises:
        FileNotFoundError: root on a system without util-linux' `setpriv`.
    """
    if user is None:
        return tuple(command)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise FileNotFoundError(
            "PostgreSQL does not run as root and `setpriv` (util-linux) is missing; run as an ordinary user."
        )
    identity = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    capability = _folder_capability()
    kept = (f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}") if capability else ()
    return (setpriv, *identity, *kept, "--", *command)


def _folder_capability() -> str | None:
    """The weakest capability we hold that opens closed folders (containers often grant only the second)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapPrm:"):
            mask = int(line.split()[1], 16)
            if mask & 1 << _DAC_READ_SEARCH:
                return "dac_read_search"
            if mask & 1 << _DAC_OVERRIDE:
                return "dac_override"
    return None
