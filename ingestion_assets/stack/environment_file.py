"""`stack.env`: what a command needs to reach the running stack, as dotenv and as shell."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values


def write_environment(path: Path, values: Mapping[str, str]) -> None:
    """Write `values` to `path`, readable by us alone: it holds passwords."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    lines = [f"{name}={_quoted(value)}\n" for name, value in values.items()]
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.writelines(lines)
    draft.replace(path)


def read_environment(path: Path) -> dict[str, str]:
    """What `write_environment` wrote; empty if the file does not exist."""
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def shell_exports(values: Mapping[str, str]) -> str:
    """`values` as lines for a POSIX shell to evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
