"""`stack.env`: what a command needs to reach the running stack; settings as variables, dotenv and shell."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic_core
from dotenv import dotenv_values
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from ingestion_assets.stores.durable_files import write_private


def as_environment(settings: BaseSettings) -> dict[str, str]:
    """The variables of what is not left to the defaults."""
    given = settings.model_dump(exclude_unset=True, exclude_none=True)
    prefix = settings.model_config.get("env_prefix", "")
    return {
        f"{prefix}{name.upper()}": value.get_secret_value()
        if isinstance(value, SecretStr)
        else _as_text(value)
        for name, value in given.items()
    }


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


def _as_text(value: Any) -> str:
    """As pydantic reads it from a variable: collections as JSON."""
    plain = isinstance(value, list | tuple | set | frozenset | dict)
    return pydantic_core.to_json(value).decode() if plain else str(value)
