"""Models of text by name: the packaged one, folders of sentence-transformers models, models behind endpoints.

To describe a model and to count its tokens loads no torch; weights are loaded when it first encodes.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ingestion_assets.embedding.endpoint_settings import endpoints
from ingestion_assets.embedding.endpoints import EndpointModel
from ingestion_assets.embedding.errors import EmbeddingError, UnknownModelError
from ingestion_assets.embedding.packaged import MODEL, PACKAGES, packaged, revision
from ingestion_assets.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from ingestion_assets.embedding.text import TextModel


PROBED_S = 60.0
FAILED_S = 5.0
COUNTED_AT_ONCE = 256
_CONFIGURATION = (
    "config.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
)  # some of them say the window
_WINDOWS = ("max_position_embeddings", "model_max_length", "max_seq_length")


class Model(Protocol):
    """A model: `id` is its name and revision, what vectors that may be compared have in common.

    `local`: its weights are on this machine. `window_tokens`: what it reads of a text, special tokens counted, as `count_tokens` does.
    """

    name: str
    id: str
    local: bool
    window_tokens: int

    def count_tokens(self, text: str) -> int: ...
    def count_all(self, texts: Sequence[str]) -> list[int]: ...
    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray: ...
    def encode_question(self, text: str) -> np.ndarray: ...


class _Counter:
    """Counts tokens by a `tokenizer.json`, which would cut and pad by itself if it were let."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415

        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def __call__(self, text: str) -> int:
        return len(self._tokenizer.encode(text))

    def all(self, texts: Sequence[str]) -> list[int]:
        """A few texts at a time: of each token the tokenizer keeps some two hundred bytes until it has read them all."""
        return [
            len(found)
            for start in range(0, len(texts), COUNTED_AT_ONCE)
            for found in self._tokenizer.encode_batch_fast(list(texts[start : start + COUNTED_AT_ONCE]))
        ]


_LOADING = threading.Lock()


class LocalModel:
    """A sentence-transformers model in a folder."""

    local = True

    def __init__(self, name: str, folder: Path, revision: str) -> None:
        self.name = name
        self.id = f"{name}@{revision}"
        self._folder = folder
        self._count = _counter(folder / "tokenizer.json")
        self._question, self._document = _prompts(folder)
        before = self._count(self._document) if self._document else 0
        self.window_tokens = _window(folder) - before

    def count_tokens(self, text: str) -> int:
        return self._count(text)

    def count_all(self, texts: Sequence[str]) -> list[int]:
        return self._count.all(texts)

    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """A unit vector for each text: float32. Raises `StoppedError`."""
        if self._document:
            texts = [self._document + text for text in texts]
        return self._loaded().encode(texts, stopped=stopped, progress=progress)

    def encode_question(self, text: str) -> np.ndarray:
        """The vector that texts which answer it are near to."""
        return self._loaded().encode([self._question + text])[0]

    def _loaded(self) -> TextModel:
        from ingestion_assets.embedding.text import TextModel  # noqa: PLC0415
        from ingestion_assets.orchestration.memory_watch import loading_to_stay  # noqa: PLC0415

        with _LOADING, loading_to_stay():
            return TextModel.at(self._folder)


class RemoteModel:
    """A model behind an endpoint."""

    local = False

    def __init__(self, asked: EndpointModel, window_tokens: int, tokenizer: Path | None) -> None:
        self.name, self.id, self.window_tokens = asked.name, asked.id, window_tokens
        self._asked = asked
        self._count = None if tokenizer is None else _counter(tokenizer)

    def count_tokens(self, text: str) -> int:
        return _bytes(text) if self._count is None else self._count(text)

    def count_all(self, texts: Sequence[str]) -> list[int]:
        return [_bytes(text) for text in texts] if self._count is None else self._count.all(texts)

    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        return self._asked.encode(texts, stopped=stopped, progress=progress)

    def encode_question(self, text: str) -> np.ndarray:
        return self._asked.encode([text], patient=False)[0]


def text_model(name: str | None, settings: Settings) -> Model:
    """The model of this name; None: the packaged one. Raises `UnknownModelError`, whose text lists what is to be had."""
    wanted = name or MODEL
    if wanted in PACKAGES:
        return _packaged(wanted)
    for folder in _model_folders(settings):
        if folder.name == wanted:
            return _in_folder(folder, _stamp(folder))
    for endpoint in endpoints(settings):
        if wanted in endpoint.models:
            count = _bytes if endpoint.tokenizer is None else _counter(endpoint.tokenizer)
            asked = EndpointModel(wanted, endpoint, settings, count)
            return RemoteModel(asked, endpoint.window_tokens, endpoint.tokenizer)
    raise UnknownModelError(
        f"There is no embedding model {wanted[:200]!r}; there are: {', '.join(available(settings))}."
    )


def available(settings: Settings) -> list[str]:
    """The names of all models that are to be had, the default first."""
    folders = (folder.name for folder in _model_folders(settings))
    behind = (model for endpoint in endpoints(settings) for model in endpoint.models)
    return list(dict.fromkeys([*PACKAGES, *folders, *behind]))


_probed: dict[tuple[str, str], tuple[float, EmbeddingError | None]] = {}


def probe(name: str | None, settings: Settings) -> Model:
    """The model, which answered within the last minute if it is behind an endpoint.

    Raises `UnknownModelError`, `EmbeddingUnavailableError`, `EmbeddingRejectedError`.
    """
    model = text_model(name, settings)
    if model.local:
        return model
    key = model.id, str(settings.home)
    until, failed = _probed.get(key, (0.0, None))
    if time.monotonic() >= until:
        try:
            model.encode_question("probe")
            failed = None
        except EmbeddingError as error:
            failed = error
        _probed[key] = time.monotonic() + (PROBED_S if failed is None else FAILED_S), failed
    if failed is not None:
        raise type(failed)(f"{failed} To be had: {', '.join(available(settings))}.")
    return model


def _bytes(text: str) -> int:
    """The most tokens that a tokenizer over bytes makes of a text."""
    return len(text.encode(errors="replace"))


@cache
def _counter(path: Path) -> _Counter:
    return _Counter(path)


@cache
def _packaged(name: str) -> Model:
    return LocalModel(name, packaged(name), revision(name))


def _model_folders(settings: Settings) -> Iterator[Path]:
    for given in filter(None, map(str.strip, settings.model_folders.split(","))):
        folder = Path(given).expanduser().absolute()
        if _is_model(folder):
            yield folder
        elif folder.is_dir():
            yield from sorted(filter(_is_model, folder.iterdir()))


def _is_model(folder: Path) -> bool:
    return (folder / "modules.json").is_file() and (folder / "tokenizer.json").is_file()


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file of the folder does."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return tuple(
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in paths
    )


@lru_cache(maxsize=16)
def _in_folder(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Model:
    """The model, whose revision is a digest of its files; they are read again when one has changed."""
    digest = hashlib.sha256()
    for name, *_ in stamp:
        with (folder / name).open("rb") as file:
            digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return LocalModel(folder.name, folder, digest.hexdigest()[:12])


def _window(folder: Path) -> int:
    """Tokens that the model reads: what sentence-transformers was told, but never more than the network has places for."""
    places: dict[str, Any] = {}
    for name in _CONFIGURATION:
        if (folder / name).is_file():
            places |= json.loads((folder / name).read_bytes())
    return min((places[name] for name in _WINDOWS if isinstance(places.get(name), int)), default=512)


def _prompts(folder: Path) -> tuple[str, str]:
    """What goes before questions and before documents, where the model was trained so."""
    path = folder / "config_sentence_transformers.json"
    prompts = json.loads(path.read_bytes()).get("prompts") or {} if path.is_file() else {}
    document = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), "")
    return prompts.get("query") or "", document
