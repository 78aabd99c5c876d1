"""Secrets that have to be kept in a database, sealed with the server's key: who reads the database alone learns nothing of them.

The key is `INGESTION_SECRET_KEY`, else one made once and kept in `<home>/secret_key`, beside the database and not in it. Sealed with Fernet
(AES-128 in CBC mode, HMAC-SHA256): https://github.com/fernet/spec.
"""

import base64
import hashlib
import secrets

from ingestion_assets.settings import Settings
from ingestion_assets.stores.durable_files import keep_private


class SealError(ValueError):
    """What was read was not sealed with this server's key."""


class Sealer:
    """Seals and opens with one key: a text of high entropy, of any length."""

    def __init__(self, key: str) -> None:
        from cryptography.fernet import Fernet  # noqa: PLC0415

        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """Raises `SealError`."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise SealError(
                "it was not sealed with this server's key: set INGESTION_SECRET_KEY as it was then"
            ) from error


def sealer(settings: Settings) -> Sealer:
    """The sealer of this server."""
    if settings.secret_key is not None:
        return Sealer(settings.secret_key.get_secret_value())
    path = settings.home / "secret_key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_private(path, secrets.token_urlsafe(32))
    return Sealer(path.read_text(encoding="ascii").strip())
