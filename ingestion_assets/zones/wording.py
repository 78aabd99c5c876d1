"""The words in which a zone is written down, in YAML or in Python, and what they mean."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ingestion_assets.durations import seconds_of
from ingestion_assets.zones.document import ByValue, ZoneError


@dataclass(frozen=True, slots=True)
class By:
    """Partitions by the value at `by`, such as `$.store`, of each record; in Dagster the dynamic partitions `keys`."""

    by: str
    keys: str


@dataclass(frozen=True, slots=True)
class Verify:
    """How the sender signs: `config` without its secrets, and the names of the environment variables that hold these."""

    config: Mapping[str, Any] | None
    variables: Sequence[str] = field(default=())

    @classmethod
    def none(cls) -> "Verify":
        """Nobody signs; an API key is asked for."""
        return cls(None)

    @classmethod
    def by(cls, kind: str, *, secret_env: str | Sequence[str], **config: Any) -> "Verify":
        """The sender signs as `kind` says; the secrets are in these environment variables, the newest first."""
        return cls(
            {"kind": kind, **config}, (secret_env,) if isinstance(secret_env, str) else tuple(secret_env)
        )

    @classmethod
    def read(cls, written: Mapping[str, Any] | None) -> "Verify":
        """As it is written in YAML: `{kind: stripe, secret: {env: SHOP_SECRET}}`, or a list of such secrets. Raises `ZoneError`."""
        if written is None:
            return cls.none()
        config = {name: value for name, value in written.items() if name != "secret"}
        given = written.get("secret")
        secrets = given if isinstance(given, list) else [given]
        names = [one.get("env") if isinstance(one, dict) else None for one in secrets]
        if not all(isinstance(name, str) and name for name in names):
            raise ZoneError(
                "`verify` needs `secret: {env: NAME}`, the environment variable that holds it; a secret itself does not belong into a file"
            )
        return cls(config, tuple(str(name) for name in names))

    def secrets(self) -> list[str]:
        """The secrets as they are now. Raises `ZoneError`, which says which variable is not set."""
        found = []
        for name in self.variables:
            if not (value := os.environ.get(name)):
                raise ZoneError(
                    f"the environment variable {name} is not set in the code location; it holds the sender's secret"
                )
            found.append(value)
        return found


def duration_of(written: str | float) -> float:
    """Seconds: `15m`, `2h`, `30s`, `1d`, or a number. Raises `ZoneError`."""
    try:
        seconds = seconds_of(str(written))
    except ValueError as error:
        raise ZoneError(str(error)) from None
    if not seconds:
        raise ZoneError(f"{written!r} is no duration that can pass")
    return seconds


def partitions_of(written: object) -> ByValue | None:
    """Days, or by a value: `day`, None, Dagster's daily partitions; `{by: "$.store", keys: stores}`, a `By`. Raises `ZoneError`."""
    if written is None or written == "day" or type(written).__name__ == "DailyPartitionsDefinition":
        return None
    if isinstance(written, By):
        return ByValue(by=written.by, keys=written.keys)
    if isinstance(written, Mapping) and set(written) == {"by", "keys"}:
        return ByValue(by=str(written["by"]), keys=str(written["keys"]))
    raise ZoneError('`partitions` is `day`, or `{by: "$.store", keys: stores}`')
