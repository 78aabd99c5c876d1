"""Speaks HTTP with the front door: hands requests over until they are accepted, and asks for their outcome.

Goes on through outages (refused connections, 429, 503 and the like) with growing pauses; what the front door
refuses for good comes back as `Refused`. Nothing here knows files.
"""

import email.utils
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import tenacity

from ingestion_assets.sending.requests import Body

RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
LONGEST_PAUSE_S = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class GaveUpError(Exception):
    """The front door could not be reached, or did not accept, for as long as was to be tried."""


class AccessDeniedError(Exception):
    """The key is missing, wrong, or lacks the scope; or there is no front door at the address."""


class StoppedError(Exception):
    """The sender was asked to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The front door keeps the request. `result` is there when it answered with the outcome at once."""

    receipt: str | None
    replayed: bool
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The front door will never take this request as it is."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptState:
    """A receipt as the front door answers it; `state` is `unknown` where it has none under this id."""

    state: str
    result: dict[str, Any] | None = None
    errors: list[Any] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.state in {"done", "failed", "unknown"}


class _UnavailableError(Exception):
    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Delivery:
    """A connection to one front door, for use from several threads.

    `retry_for_s` bounds how long one request is tried (None: for ever); `on_outage` hears of each pause
    (reason and seconds) and of the end of an outage (None).
    """

    def __init__(
        self,
        *,
        url: str,
        key: str | None,
        retry_for_s: float | None,
        stop: threading.Event,
        on_outage: Callable[[str | None, float], None],
        connections: int = 8,
    ) -> None:
        headers = {"User-Agent": "ingestion-send/1"}
        if key:
            headers["X-API-Key"] = key
        self._client = httpx.Client(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(60.0, connect=5.0),
            limits=httpx.Limits(max_connections=connections + 2, max_keepalive_connections=connections + 2),
            trust_env=httpx.URL(url).host not in _LOOPBACK,  # a proxy is for other hosts
        )
        self._url = url
        self._retry_for_s = retry_for_s
        self._stop = stop
        self._on_outage = on_outage
        self._jitter = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_S)

    def close(self) -> None:
        self._client.close()

    def send(self, body: Body) -> Accepted | Refused:
        """Post one request until it is accepted or refused. Raises GaveUpError, AccessDeniedError,
        StoppedError.
        """
        headers = body.headers | {"Idempotency-Key": body.key, "Prefer": "respond-async"}
        response = self._answer("POST", "/api/v1/ingest/batch", headers=headers, content=body.content)
        if response.is_success:
            return _accepted(response)
        return Refused(status=response.status_code, detail=_detail(response))

    def receipt(self, receipt_id: str, *, wait_s: float) -> ReceiptState:
        """The receipt as it stands after at most about `wait_s` seconds."""
        response = self._answer(
            "GET", f"/api/v1/receipts/{receipt_id}", headers={"Prefer": f"wait={max(1, round(wait_s))}"}
        )
        if not response.is_success:
            return ReceiptState(state="unknown", errors=[{"detail": _detail(response)}])
        value = response.json()
        return ReceiptState(
            state=value["state"], result=value.get("result"), errors=value.get("errors") or []
        )

    def record_outcomes(self, receipt_id: str) -> list[dict[str, Any]]:
        """Outcome of every record of the receipt, in input order."""
        outcomes: list[dict[str, Any]] = []
        params = {"limit": "1000"}
        while True:
            response = self._answer("GET", f"/api/v1/receipts/{receipt_id}/records", params=params)
            if not response.is_success:
                return outcomes
            page = response.json()
            items = page if isinstance(page, list) else page.get("items", [])
            outcomes.extend(items)
            following = None if isinstance(page, list) else page.get("next")
            if not following or not items:
                return outcomes
            params = {"limit": "1000", "cursor": following}

    def stream_part(self, *, params: dict[str, str], content: bytes) -> httpx.Response:
        """Post a part of a stream of messages, zstd-compressed, until it is durable (202) or out of place (409).

        Raises GaveUpError, AccessDeniedError, StoppedError.
        """
        headers = {"Content-Type": "text/plain", "Content-Encoding": "zstd", "Prefer": "respond-async"}
        return self._answer(
            "POST", "/ingest/stream", params=params, headers=headers, content=content, final=frozenset({409})
        )

    def stream_position(self, stream: str, *, channel: str) -> dict[str, Any] | None:
        """How far a stream was acknowledged, None if nothing of it is known."""
        response = self._answer("GET", f"/ingest/stream/{stream}", params={"channel": channel})
        return response.json() if response.is_success else None

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        began = time.monotonic()
        paused = False

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.retry_after_s if isinstance(error, _UnavailableError) else None
            backoff = max(0.05, self._jitter(state))
            return backoff if asked is None else asked + min(1.0, backoff)

        def outage(state: tenacity.RetryCallState) -> None:
            nonlocal paused
            paused = True
            error = state.outcome.exception() if state.outcome else None
            self._on_outage(str(error), state.upcoming_sleep)

        def exhausted(state: tenacity.RetryCallState) -> bool:
            limit = self._retry_for_s
            return limit is not None and time.monotonic() - began + state.upcoming_sleep > limit

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_UnavailableError),
            wait=pause,
            stop=exhausted,
            before_sleep=outage,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            response = retrying(self._once, method, path, **request)
        except _UnavailableError as error:
            raise GaveUpError(f"{self._url}: {error}") from error
        if paused:
            self._on_outage(None, 0.0)
        return response

    def _once(
        self, method: str, path: str, *, final: frozenset[int] = frozenset(), **request: Any
    ) -> httpx.Response:
        if self._stop.is_set():
            raise StoppedError
        try:
            response = self._client.request(method, path, **request)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise AccessDeniedError(f"{self._url} is not an address: {error}") from error
        except httpx.TransportError as error:
            raise _UnavailableError(str(error) or type(error).__name__) from error
        if response.status_code in RETRIED_STATUS - final:
            raise _UnavailableError(
                f"HTTP {response.status_code}: {_detail(response)}", retry_after_s=_retry_after_s(response)
            )
        if response.status_code in {401, 403}:
            raise AccessDeniedError(f"{self._url} answers {response.status_code}: {_detail(response)}")
        if response.status_code in {404, 405} and method == "POST":
            raise AccessDeniedError(f"{self._url} has no {path}; is this the address of the front door?")
        return response

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError


def _accepted(response: httpx.Response) -> Accepted:
    try:
        value = response.json()
    except json.JSONDecodeError:
        value = {}
    location = response.headers.get("Location") or response.headers.get("Content-Location") or ""
    receipt = location.rstrip("/").rpartition("/")[2] if "/receipts/" in location else None
    receipt = receipt or response.headers.get("X-Receipt-Id") or value.get("receipt_id") or value.get("id")
    return Accepted(
        receipt=receipt,
        replayed=response.headers.get("Idempotent-Replayed", "").lower() == "true",
        result=value if "stats" in value else None,
    )


def _detail(response: httpx.Response) -> str:
    try:
        value = response.json()
    except ValueError:
        return response.text[:300] or response.reason_phrase
    if isinstance(value, dict):
        return str(value.get("detail") or value.get("title") or value)[:1000]
    return str(value)[:300]


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds to wait as `Retry-After` says, in either of its forms (RFC 9110 10.2.3)."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
