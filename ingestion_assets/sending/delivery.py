"""Speaks HTTP with the front door: hands requests over until they are accepted, and asks for their outcome.

Goes on through outages (refused connections, 429, 5xx and the like) with growing pauses; what the front door
refuses for good comes back as well. What is its own word, `acknowledgement` says. Nothing here knows files.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import tenacity

from ingestion_assets import proxies
from ingestion_assets.sending.acknowledgement import (
    Answer,
    Heard,
    Proof,
    holds_receipt,
    is_page,
    is_receipt,
    one_line,
    own_answer,
    retry_after_s,
)
from ingestion_assets.sending.endings import AccessDeniedError, GaveUpError, StoppedError

PASSING_STATUS = frozenset({408, 409, 425, 429, *range(500, 600)})
DENIED_STATUS = frozenset({401, 403, 407})
REFUSED_STATUS = frozenset({400, 413, 422})
LONGEST_PAUSE_S = 30.0
UNKNOWN_PATIENCE_S = 15.0  # what landed while the ledger was down is known only later
LONGEST_ANSWER = 32 * 2**20


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

    `retry_for_s` bounds how long one request is tried; `on_outage` hears of each pause
    (reason and seconds) and of the end of an outage (None). Raises AccessDeniedError for a key or an address that
    cannot be used.
    """

    def __init__(
        self,
        *,
        url: str,
        key: str | None,
        retry_for_s: float,
        stop: threading.Event,
        on_outage: Callable[[str | None, float], None],
        connections: int = 8,
    ) -> None:
        headers = {"User-Agent": "ingestion-send/1"}
        if key:
            headers["X-API-Key"] = key
        try:
            address = httpx.URL(url)
            self._client = httpx.Client(
                base_url=url,
                headers=headers,
                timeout=httpx.Timeout(60.0, connect=5.0),
                limits=httpx.Limits(
                    max_connections=connections + 2, max_keepalive_connections=connections + 2
                ),
                trust_env=proxies.stand_before(url),
            )
        except httpx.InvalidURL as error:
            raise AccessDeniedError(f"--url is not an address: {error}") from error
        except (ValueError, OSError) as error:  # proxies or certificates that the environment names
            raise AccessDeniedError(
                f"the environment's settings for proxies or certificates cannot be used: {error}"
            ) from error
        self._url = f"{address.scheme}://{address.netloc.decode()}{address.path}".rstrip("/")  # no password
        self._retry_for_s = retry_for_s
        self._stop = stop
        self._on_outage = on_outage
        self._jitter = tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_S)
        self._found = False  # whether the front door itself has answered

    def close(self) -> None:
        self._client.close()

    def pause(self, seconds: float) -> None:
        """Wait. Raises StoppedError."""
        if self._stop.wait(seconds):
            raise StoppedError

    def submit(self, path: str, *, refusals: frozenset[int], **request: Any) -> Answer:
        """Post a payload until there is a receipt for it, or it is refused: with one of these statuses, or as too large.

        Raises GaveUpError, AccessDeniedError, StoppedError.
        """
        return self._answer("POST", path, proof=holds_receipt, refusals=refusals, **request)

    def receipt(self, receipt_id: str, *, wait_s: float) -> ReceiptState:
        """The receipt as it stands after at most about `wait_s` seconds."""
        answer = self.get(
            f"/api/v1/receipts/{receipt_id}",
            proof=is_receipt(receipt_id),
            headers={"Prefer": f"wait={max(1, round(wait_s))}"},
        )
        if not answer.succeeded:
            return ReceiptState(state="unknown", errors=[{"detail": answer.detail}])
        result, errors = answer.body.get("result"), answer.body.get("errors")
        return ReceiptState(
            state=answer.body["state"],
            result=result if isinstance(result, dict) else None,
            errors=errors if isinstance(errors, list) else [],
        )

    def record_outcomes(self, receipt_id: str) -> list[dict[str, Any]]:
        """Outcome of every record of the receipt, in input order; none where the front door does not know it."""
        try:
            return self.items(f"/api/v1/receipts/{receipt_id}/records", params={"limit": "1000"})
        except LookupError:
            return []

    def items(self, path: str, *, params: dict[str, str]) -> list[dict[str, Any]]:
        """All items of a list, of all its pages. Raises LookupError where the front door has no such list."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = self.get(path, proof=is_page, params=params | cursor)
            if not answer.succeeded:
                raise LookupError(answer.detail)
            items.extend(answer.body["items"])
            following = answer.body.get("next")
            if not following or not answer.body["items"]:
                return items
            cursor = {"cursor": following}

    def get(self, path: str, *, proof: Proof, **request: Any) -> Answer:
        """What is asked for, or that there is none (404). Raises as `submit`."""
        return self.answer("GET", path, proof=proof, refusals=frozenset({404}), **request)

    def answer(self, method: str, path: str, **request: Any) -> Answer:
        """The front door's own answer. Raises as `submit`."""
        answer = self._answer(method, path, **request)
        if not answer.own:
            raise AccessDeniedError(answer.detail)
        return answer

    def _answer(self, method: str, path: str, **request: Any) -> Answer:
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
            return time.monotonic() - began + state.upcoming_sleep > self._retry_for_s

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_UnavailableError),
            wait=pause,
            stop=exhausted,
            before_sleep=outage,
            sleep=self.pause,
            reraise=True,
        )
        try:
            answer = retrying(self._once, method, path, **request)
        except _UnavailableError as error:
            raise GaveUpError(f"{self._url}: {error}") from error
        if paused:
            self._on_outage(None, 0.0)
        return answer

    def _once(
        self, method: str, path: str, *, proof: Proof, refusals: frozenset[int], **request: Any
    ) -> Answer:
        if self._stop.is_set():
            raise StoppedError
        heard = self._heard(method, path, **request)
        answer = own_answer(heard, proof=proof)
        self._found = self._found or answer is not None
        if heard.status in PASSING_STATUS and (answer is None or heard.status not in refusals):
            said = answer.detail if answer else "not said by the front door itself"
            asked = retry_after_s(heard.headers)
            raise _UnavailableError(f"HTTP {heard.status}: {said}", retry_after_s=asked)
        if heard.status in DENIED_STATUS:
            said = answer.detail if answer else "not said by the front door itself; is the address right?"
            raise AccessDeniedError(f"{self._url} answers {heard.status}: {said}")
        if answer is None:
            return self._foreign(heard, size=len(request.get("content", b"")))
        if answer.succeeded or answer.status in refusals:
            return answer
        raise AccessDeniedError(f"{self._url}{path} answers {answer.status}: {answer.detail}")

    def _foreign(self, heard: Heard, *, size: int) -> Answer:
        """Somebody else's answer: a wrong address, or, once the front door has been found there, an outage.

        What is too large for a proxy may go through in parts: that alone comes back, as `own=False`.
        """
        if heard.status == 413:
            said = (
                f"something before the front door at {self._url} takes no request of {size:,} bytes (413); "
                "nothing of it counts as sent. Let it take larger ones, or give another address with --url"
            )
            return Answer(413, {"detail": said}, own=False)
        media_type = one_line(heard.headers.get("content-type", "no content").partition(";")[0], most=60)
        said = (
            f"{heard.status} with {media_type}, which is no answer of the front door: nothing counts as sent"
        )
        if 300 <= heard.status < 400:
            said = f"{heard.status} and points {self._pointed_to(heard)}: nothing counts as sent"
        if self._found:
            raise _UnavailableError(said)
        raise AccessDeniedError(
            f"{self._url} answers {said}. Is this the front door's address (--url)? A login page or a proxy may stand before it."
        )

    def _pointed_to(self, heard: Heard) -> str:
        try:
            target = httpx.URL(self._url).join(heard.headers.get("location", ""))
            return one_line(
                f"to {target.scheme}://{target.netloc.decode()}", most=200
            )  # a path may hold secrets
        except (httpx.InvalidURL, ValueError):
            return "nowhere"

    def _heard(self, method: str, path: str, **request: Any) -> Heard:
        content = bytearray()
        try:
            with self._client.stream(method, path, **request) as response:
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > LONGEST_ANSWER:
                        raise _UnavailableError(f"HTTP {response.status_code}: an answer without end")
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise AccessDeniedError(f"{self._url} is not an address: {error}") from error
        except httpx.RequestError as error:
            raise _UnavailableError(str(error) or type(error).__name__) from error
        return Heard(response.status_code, response.headers, bytes(content))
