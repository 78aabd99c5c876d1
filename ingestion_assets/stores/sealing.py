"""Secrets that have to be kept in a database, sealed with the server's keys: who reads the database alone learns nothing of them.

The keys are `INGESTION_SECRET_KEYS`, else those in `<home>/secret_key`, one a line, beside the database and not in it; the first seals, all
open. Sealed with Fernet (AES-128 in CBC mode, HMAC-SHA256): https://github.com/fernet/spec.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence

from ingestion_assets.settings import Settings
from ingestion_assets.stores.durable_files import keep_private, write_private

KEY_FILE = "secret_key"


class SealError(ValueError):
    """What was read was not sealed with one of this server's keys, or for something else."""


class Sealer:
    """Seals with the first key and opens with each: texts of high entropy, of any length."""

    def __init__(self, *keys: str) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

        self._fernet = MultiFernet(
            [Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys]
        )

    def seal(self, text: str, *, of: str = "") -> str:
        """Sealed. `of` says whose secret it is: put elsewhere in the database, it does not open."""
        return self._fernet.encrypt(f"{of}\0{text}".encode() if of else text.encode()).decode("ascii")

    def open(self, sealed: str, *, of: str = "") -> str:
        """Raises `SealError`."""
        opened = self._opened(sealed, self._fernet.decrypt).decode()
        if not of:
            return opened
        whose, _, text = opened.partition("\0")
        if whose != of:
            raise SealError("it is another's: it was moved in the database")
        return text

    def rotate(self, sealed: str) -> str:
        """The same, sealed with the first key. Raises `SealError`."""
        return self._opened(sealed, self._fernet.rotate).decode("ascii")

    def _opened(self, sealed: str, by: Callable[[str], bytes]) -> bytes:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return by(sealed)
        except InvalidToken as error:
            raise SealError(
                "it was not sealed with this server's keys: add the key of then to INGESTION_SECRET_KEYS"
            ) from error


def sealer(settings: Settings) -> Sealer:
    """The sealer of this server."""
    return Sealer(*secret_keys(settings))


def secret_keys(settings: Settings) -> Sequence[str]:
    """The keys of this server, the one that seals first. Without settings one is made and kept."""
    given = settings.secret_keys.get_secret_value().split(",") if settings.secret_keys else []
    keys = [key for key in map(str.strip, given) if key]
    if settings.secret_key:
        keys.append(settings.secret_key.get_secret_value())
    if keys:
        return keys
    path = settings.home / KEY_FILE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii").split()


def keep_keys(settings: Settings, keys: Sequence[str]) -> None:
    """Put keys into the file, the one that seals first. Every process reads them when it next seals or opens."""
    write_private(settings.home / KEY_FILE, "\n".join(keys))
