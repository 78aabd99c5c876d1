"""Asking Google Drive: credentials, repeated calls, and what its errors mean for a file."""

import json
import random
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

import google_auth_httplib2
import httplib2
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from ingestion_assets.documents.file_errors import Code, FileError, Stage
from ingestion_assets.documents.sources.drive_config import DriveConfig
from ingestion_assets.documents.sources.source import Stopped, never

SCOPE = "https://www.googleapis.com/auth/drive.readonly"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TIMEOUT_S = 60
TRIES = 6
LONGEST_WAIT_S = 64.0

_AGAIN = frozenset(
    {
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "sharingRateLimitExceeded",
        "backendError",
        "internalError",
    }
)
_CODES: dict[str, tuple[Code, str]] = {
    "exportSizeLimitExceeded": ("export_too_large", "what it exports to is larger than Google gives (10 MB); save it as a file there"),
    "fileNotDownloadable": ("unsupported_type", "it has no bytes that could be fetched"),
    "cannotExportFile": ("access_denied", "its owner does not let it be exported"),
    "cannotDownloadFile": ("access_denied", "its owner does not let it be downloaded"),
    "cannotDownloadAbusiveFile": ("access_denied", "Google takes it for malware or spam"),
    "dailyLimitExceeded": ("download_failed", "the day's quota of the Google project is used up"),
    "quotaExceeded": ("download_failed", "the quota of the Google project is used up"),
}  # fmt: skip


class DriveCalls:
    """Drive as one connection sees it. Not for several threads at once."""

    def __init__(self, config: DriveConfig, url: str | None) -> None:
        base = url.rstrip("/") if url else None
        token_url = f"{base}/token" if base else TOKEN_URL
        try:
            self.http = google_auth_httplib2.AuthorizedHttp(
                _credentials(config, token_url), http=httplib2.Http(timeout=TIMEOUT_S)
            )
        except ValueError as error:  # a private key that is none
            raise _reauth("the credentials cannot be read") from error
        options = {"api_endpoint": f"{base}/drive/v3/"} if base else None
        self._drive: Any = build(
            "drive",
            "v3",
            http=self.http,
            static_discovery=True,
            cache_discovery=False,
            client_options=options,
        )

    def files(self) -> Any:
        return self._drive.files()

    def drive_changes(self) -> Any:
        return self._drive.changes()

    def close(self) -> None:
        self._drive.close()

    def execute(self, request: Any, what: str = "Google Drive", stopped: Stopped = never) -> dict[str, Any]:
        """The answer to a request. Raises `FileError`, `Gone`."""
        return self.repeated(request.execute, what, "accessing", stopped)

    def repeated(self, call: Callable[[], Any], what: str, stage: Stage, stopped: Stopped) -> Any:
        """`call`, again while Google says that it has no time or does not answer. Raises `FileError`, `Gone`."""
        for attempt in range(1, TRIES + 1):
            try:
                return call()
            except HttpError as error:
                reason = _reason(error)
                if not _is_passing(error, reason) or attempt == TRIES:
                    raise _told(error, reason, what, stage) from error
                wait_s = _asked_for_s(error)
            except RefreshError as error:
                if not error.retryable or attempt == TRIES:
                    raise _reauth(
                        "Google refuses to renew the access: it was withdrawn or has expired"
                    ) from error
                wait_s = None
            except (GoogleAuthError, httplib2.HttpLib2Error, OSError, HTTPException) as error:
                if attempt == TRIES:
                    raise FileError(
                        "download_failed",
                        stage,
                        f"{what}: Google Drive does not answer ({type(error).__name__}).",
                    ) from error
                wait_s = None
            if wait_s is None:
                wait_s = min(LONGEST_WAIT_S, 2.0**attempt * random.uniform(0.25, 0.5))  # noqa: S311 - spreads calls, no secret
            _wait(wait_s, stopped)
        raise AssertionError("not reached")


class Gone(Exception):  # noqa: N818 - the status
    """410: what was asked with is too old."""


def _credentials(config: DriveConfig, token_url: str) -> Any:
    # Where tokens are had is ours to say: an address of the user's would be asked for by this machine.
    if config.oauth is not None:
        return user_credentials.Credentials(
            token=None,
            refresh_token=config.oauth.refresh_token.get_secret_value(),
            client_id=config.oauth.client_id,
            client_secret=config.oauth.client_secret.get_secret_value(),
            token_uri=token_url,
        )
    account = config.service_account
    assert account is not None  # noqa: S101 - one of both, by its model
    info = {
        "type": "service_account", "client_email": account.client_email, "private_key_id": account.private_key_id,
        "private_key": account.private_key.get_secret_value(), "token_uri": token_url,
    }  # fmt: skip
    return service_account.Credentials.from_service_account_info(
        info, scopes=[SCOPE], subject=account.subject
    )


def _reason(error: HttpError) -> str:
    try:
        return json.loads(error.content)["error"]["errors"][0]["reason"]
    except (ValueError, LookupError, TypeError):
        return ""


def _is_passing(error: HttpError, reason: str) -> bool:
    status = int(error.resp.status)
    return status == 429 or status >= 500 or (status == 403 and reason in _AGAIN)


def _asked_for_s(error: HttpError) -> float | None:
    after = str(error.resp.get("retry-after", ""))
    return min(LONGEST_WAIT_S, float(after)) if after.isdigit() else None


def _wait(seconds: float, stopped: Stopped) -> None:
    until = time.monotonic() + seconds
    while not stopped() and (left := until - time.monotonic()) > 0:
        time.sleep(min(0.2, left))
    if stopped():
        raise FileError("cancelled", "accessing", "Cancelled while Google Drive was waited for.")


def _told(error: HttpError, reason: str, what: str, stage: Stage) -> Exception:
    status = int(error.resp.status)
    if status == 410:
        return Gone()
    if status == 401:
        return _reauth("Google does not take the credentials any more")
    if reason in _CODES:
        code, why = _CODES[reason]
        return FileError(code, stage, f"{what}: {why}.")
    if status == 404:
        return FileError(
            "not_found", stage, f"{what}: it is not there any more, or not for these credentials."
        )
    if status == 403 and reason not in _AGAIN:
        return FileError(
            "access_denied", stage, f"{what}: the credentials may not read it ({reason or status})."
        )
    return FileError(
        "download_failed", stage, f"{what}: Google Drive answered {status} ({reason or 'no reason'})."
    )


def _reauth(why: str) -> FileError:
    return FileError("needs_reauth", "accessing", f"{why}: give the connection new credentials.")
