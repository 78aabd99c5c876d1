"""`stack.env`: what a command needs to reach the running stack, as dotenv and as shell."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from ingestion_assets.stores.durable_files import write_private


def write_environment(path: Path, values: Mapping[str, str]) -> None:
    """Write `values` to `path`, readable by us alone: it holds passwords."""
    write_private(path, "".join(f"{name}={_quoted(value)}\n" for name, value in values.items()))


def read_environment(path: Path) -> dict[str, str]:
    """What `write_environment` wrote; empty if the file does not exist."""
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def shell_exports(values: Mapping[str, str]) -> str:
    """`values` as lines for a POSIX shell to evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
