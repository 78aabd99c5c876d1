"""Models behind OpenAI-compatible endpoints: `POST {url}/embeddings`, in batches by number and tokens, several at once.

A server that says `Retry-After` is left alone for as long by every process of the stack: the pause stands in the database. An answer
that has not a vector for each text is an error, however the server calls it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import sqlalchemy as sa
from pydantic import BaseModel, ValidationError

from ingestion_assets.embedding.endpoint_settings import WIDEST, Endpoint
from ingestion_assets.embedding.errors import EmbeddingRejectedError, EmbeddingUnavailableError, StoppedError
from ingestion_assets.settings import Settings
from ingestion_assets.stores import postgres
from ingestion_assets.tls_context import tls_context

if TYPE_CHECKING:
    import numpy as np

TRIES = 5
BACKOFF_S = 1.0
LONGEST_PAUSE_S = 900.0  # in all, for one batch; beyond, the caller is to come back later
LOOK_S = 0.2
AT_ONCE = 4
MOST_BYTES = 256 * 2**20
_TRANSIENT = frozenset({408, 409, 425, 429})
_REFUSED = frozenset({400, 413, 422})

log = logging.getLogger(__name__)

_PAUSE = sa.text("""
    INSERT INTO embedding.endpoints (url, paused_until) VALUES (:url, clock_timestamp() + make_interval(secs => :pause_s))
    ON CONFLICT (url) DO UPDATE SET paused_until = greatest(endpoints.paused_until, excluded.paused_until)
""")
_PAUSED = sa.text("""
    SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 FROM embedding.endpoints
    WHERE url = :url AND paused_until > clock_timestamp()
""")


class _RefusedError(Exception):
    """The server takes this batch not, in `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class _WaitError(Exception):
    """The server is to be asked again, after `pause_s` where it says so."""

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


Batch = list[int]


class EndpointModel:
    """A model of an endpoint: texts in, vectors out."""

    def __init__(
        self, name: str, endpoint: Endpoint, settings: Settings, count: Callable[[str], int]
    ) -> None:
        place = urlsplit(endpoint.url)
        self.name = name
        self.url = endpoint.url.rstrip("/")
        self.id = f"{name}@{place.netloc}{place.path.rstrip('/')}"
        if endpoint.dimensions is not None:
            self.id += f":{endpoint.dimensions}"
        self._endpoint = endpoint
        self._settings = settings
        self._count = count

    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
        patient: bool = True,
    ) -> np.ndarray:
        """A unit vector for each text, float32. Raises `EmbeddingUnavailableError`, `EmbeddingRejectedError`, `StoppedError`.

        Call it from no event loop. Not `patient`: one try, whatever the server says.
        """
        return asyncio.run(self._until_stopped(texts, stopped, progress, patient))

    async def _until_stopped(
        self,
        texts: Sequence[str],
        stopped: Callable[[], bool] | None,
        progress: Callable[[int], None] | None,
        patient: bool,
    ) -> np.ndarray:
        work = asyncio.create_task(self._all(texts, progress, patient))
        while not (await asyncio.wait({work}, timeout=LOOK_S))[0]:
            if stopped is not None and stopped():
                work.cancel()
                await asyncio.wait({work})
                raise StoppedError("Stopped while the endpoint was asked.")
        return work.result()

    async def _all(
        self, texts: Sequence[str], progress: Callable[[int], None] | None, patient: bool
    ) -> np.ndarray:
        import numpy as np  # noqa: PLC0415

        found: dict[int, np.ndarray] = {}
        gate = asyncio.Semaphore(AT_ONCE)
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if (key := self._endpoint.key) else {}
        timeout = self._endpoint.timeout_s
        async with httpx.AsyncClient(headers=headers, timeout=timeout, verify=tls_context()) as client:

            async def one(batch: Batch) -> None:
                async with gate:
                    found.update(await self._batch(client, texts, batch, patient))
                if progress is not None:
                    progress(len(found))

            tasks = [asyncio.create_task(one(batch)) for batch in self._batches(texts)]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
        if len({vector.size for vector in found.values()}) > 1:
            raise EmbeddingUnavailableError(f"{self.id} answers with vectors of different widths.")
        if not texts:
            return np.zeros((0, self._endpoint.dimensions or 0), dtype=np.float32)
        return np.stack([found[number] for number in range(len(texts))])

    def _batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        batch: Batch = []
        tokens = 0
        for number, text in enumerate(texts):
            more = self._count(text)
            full = len(batch) == self._endpoint.batch_texts or tokens + more > self._endpoint.batch_tokens
            if batch and full:
                yield batch
                batch, tokens = [], 0
            batch.append(number)
            tokens += more
        if batch:
            yield batch

    async def _batch(
        self, client: httpx.AsyncClient, texts: Sequence[str], batch: Batch, patient: bool
    ) -> dict[int, np.ndarray]:
        """The vectors of a batch; of one that is refused, those of its halves: one bad text is no reason to refuse the others."""
        try:
            return await self._patiently(client, texts, batch, patient)
        except _RefusedError as refused:
            if len(batch) == 1:
                size = len(texts[batch[0]])
                raise EmbeddingRejectedError(
                    f"{self.id} refuses text {batch[0] + 1} of {len(texts)} ({size} characters) with status {refused.status}."
                ) from None
        middle = len(batch) // 2
        left = await self._batch(client, texts, batch[:middle], patient)
        return left | await self._batch(client, texts, batch[middle:], patient)

    async def _patiently(
        self, client: httpx.AsyncClient, texts: Sequence[str], batch: Batch, patient: bool
    ) -> dict[int, np.ndarray]:
        tries, waited = 0, 0.0
        while True:
            if patient:
                waited += await self._pass_pause(waited)
            try:
                return await self._once(client, texts, batch)
            except _WaitError as wait:
                # A server that names the time is not failing, so that counts as no try.
                tries += wait.pause_s is None
                if not patient or tries >= TRIES or waited + (wait.pause_s or 0) > LONGEST_PAUSE_S:
                    raise EmbeddingUnavailableError(f"{self.id} is not to be had: {wait}.") from None
                if wait.pause_s is not None:
                    await asyncio.to_thread(self._pause, wait.pause_s)
                else:
                    await asyncio.sleep(BACKOFF_S * 2 ** (tries - 1) * random.uniform(0.5, 1.5))  # noqa: S311

    async def _once(
        self, client: httpx.AsyncClient, texts: Sequence[str], batch: Batch
    ) -> dict[int, np.ndarray]:
        body: dict[str, Any] = {"model": self.name, "input": [texts[number] for number in batch]}
        if self._endpoint.dimensions is not None:
            body["dimensions"] = self._endpoint.dimensions
        try:
            async with client.stream("POST", f"{self.url}/embeddings", json=body) as answer:
                if answer.status_code in _REFUSED:
                    raise _RefusedError(answer.status_code)
                if answer.status_code in _TRANSIENT or answer.status_code >= 500:
                    raise _WaitError(f"it answers {answer.status_code}", _retry_after(answer.headers))
                if answer.status_code != httpx.codes.OK:
                    raise EmbeddingUnavailableError(
                        f"{self.id} answers {answer.status_code}; are its address, key and model right?"
                    )
                content = await _read(answer)
        except httpx.TransportError as error:
            raise _WaitError(f"it cannot be reached ({type(error).__name__})") from None
        vectors = _vectors_in(content, len(batch))
        return dict(zip(batch, vectors, strict=True))

    async def _pass_pause(self, waited: float) -> float:
        """Wait until the pause of this server is over, for all processes; gives the seconds."""
        began = asyncio.get_running_loop().time()
        while (left := await asyncio.to_thread(self._paused)) > 0:
            gone = asyncio.get_running_loop().time() - began
            if waited + gone + left > LONGEST_PAUSE_S:
                raise EmbeddingUnavailableError(
                    f"{self.id} is not to be had: it asks for {left:.0f} s of patience."
                )
            await asyncio.sleep(min(left, 5.0) + random.uniform(0, 0.1))  # noqa: S311
        return asyncio.get_running_loop().time() - began

    def _pause(self, pause_s: float) -> None:
        log.warning("%s asks for a pause of %.1f s", self.id, pause_s)
        with postgres.engine(self._settings.require("postgres_url")).begin() as connection:
            connection.execute(_PAUSE, {"url": self.url, "pause_s": pause_s})

    def _paused(self) -> float:
        with postgres.engine(self._settings.require("postgres_url")).connect() as connection:
            return connection.scalar(_PAUSED, {"url": self.url}) or 0.0


async def _read(answer: httpx.Response) -> bytes:
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            raise _WaitError("its answer is too large")
    return bytes(content)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks for, in either form (RFC 9110, 10.2.3)."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


class _Item(BaseModel):
    index: int
    embedding: list[float]


class _Answer(BaseModel):
    data: list[_Item]


def _vectors_in(content: bytes, wanted: int) -> list[np.ndarray]:
    """The vectors of an answer by the index of their text, of length 1. Raises `_WaitError` for what is no whole answer."""
    import numpy as np  # noqa: PLC0415

    try:
        data = _Answer.model_validate_json(content).data
    except ValidationError:
        raise _WaitError("its answer is not a list of vectors") from None
    by_index = {item.index: item.embedding for item in data}
    if len(data) != wanted or by_index.keys() != set(range(wanted)):
        raise _WaitError(f"it answers with {len(data)} vectors for {wanted} texts")
    vectors = [np.asarray(by_index[number], dtype=np.float32) for number in range(wanted)]
    lengths = []
    for vector in vectors:
        length = float(np.linalg.norm(vector))
        if not 0 < vector.size <= WIDEST:
            raise EmbeddingUnavailableError(
                f"A vector has {vector.size} dimensions; at most {WIDEST} can be stored."
            )
        if not math.isfinite(length) or length == 0:
            raise _WaitError("a vector in its answer has no direction")
        lengths.append(length)
    return [vector / length for vector, length in zip(vectors, lengths, strict=True)]
