"""Vectors of texts by a sentence model that is installed as a package: loading it never asks the network.

fp16 on a GPU where there is one, else bf16 where the CPU has instructions for it, and fp32 where it would have to be imitated, which takes
almost seven times as long as fp32 does. A text's vector is the same to the last bit whatever it comes with: the kernels round
by the shape of a batch, so a shape depends on the text's own length alone. Torch is loaded with the first model, not with this module.

On the CPU each core takes a text of its own. Cores that share one wait for each other after each of its operations, which costs a sixth
of the processor time when they have nothing else to do, and most of it when they do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingestion_assets.embedding.errors import StoppedError
from ingestion_assets.embedding.packaged import MODEL, packaged

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

WIDTH = 384
_WINDOW = 1024  # texts that are put into batches at once


class Shape(NamedTuple):
    """Of batches: always this many rows, empty ones too, and a length that is a multiple of this many tokens."""

    rows: int
    tokens: int


ON_CPU = Shape(1, 16)  # as fast as padded batches, and nothing is padded where texts are few
ON_GPU = Shape(32, 32)


def precision(*, gpu: bool) -> torch.dtype:
    """What models compute in on this machine."""
    import torch  # noqa: PLC0415 - 200 MB and seconds

    if gpu:
        return torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


class TextModel:
    """A loaded model; `load` it once in a process."""

    def __init__(self, name: str, model: SentenceTransformer) -> None:
        self.name = name
        self._model = model
        self.width = model.get_embedding_dimension() or WIDTH
        self.shape = ON_GPU if model.device.type == "cuda" else ON_CPU
        self.cores = 1 if model.device.type == "cuda" else _cores()

    @staticmethod
    def load(name: str = MODEL) -> TextModel:
        """The model of this name, from its package. Raises `UnknownModelError`."""
        return TextModel.at(packaged(name))

    @staticmethod
    @cache
    def at(folder: Path) -> TextModel:
        """The sentence-transformers model in a folder."""
        import torch  # noqa: PLC0415 - 200 MB and seconds
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        gpu = torch.cuda.is_available()
        model = SentenceTransformer(str(folder), device="cuda" if gpu else "cpu", local_files_only=True)
        return TextModel(folder.name, model.to(precision(gpu=gpu)))

    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """A unit vector for each text: float32 of (texts, WIDTH). What a text has beyond the model's 256 tokens is not read."""
        with nullcontext() if self.shape == ON_GPU else _one_core_each():
            return self._encoded(texts, stopped, progress)

    def _encoded(
        self,
        texts: Sequence[str],
        stopped: Callable[[], bool] | None,
        progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        done = 0
        for start in range(0, len(texts), _WINDOW):
            batches = list(self._batches(texts[start : start + _WINDOW]))
            for (numbers, _), found in zip(batches, self._all_vectors(batches, stopped), strict=True):
                vectors[[start + number for number in numbers]] = found[: len(numbers)]
                done += len(numbers)
                if progress is not None:
                    progress(done)
        return vectors

    def _all_vectors(
        self, batches: Sequence[tuple[list[int], list[list[int]]]], stopped: Callable[[], bool] | None
    ) -> Iterator[np.ndarray]:
        """Those of each batch, in their order. Raises `StoppedError`."""

        def one(batch: tuple[list[int], list[list[int]]]) -> np.ndarray:
            if stopped is not None and stopped():
                raise StoppedError(f"Stopped before all of {len(batches)} batches had vectors.")
            return self._vectors(batch[1])

        if self.shape == ON_GPU:
            yield from map(one, batches)
            return
        cores = max(1, min(self.cores, len(batches)))
        with ThreadPoolExecutor(cores, "vectors", initializer=_take_one_core) as threads:
            yield from threads.map(one, batches)

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Numbers of texts and their tokens, texts of about the same length together."""
        model, shape = self._model, self.shape
        prompt = model.prompts.get(model.default_prompt_name or "") or ""
        readable = [
            (prompt + text).encode(errors="replace").decode() for text in texts
        ]  # a lone surrogate would fail them all
        tokens = model.tokenizer(readable, truncation=True, max_length=model.max_seq_length)["input_ids"]
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, of_text in enumerate(tokens):
            by_length[-(-len(of_text) // shape.tokens)].append(number)
        for length in sorted(by_length):
            numbers = by_length[length]
            for first in range(0, len(numbers), shape.rows):
                some = numbers[first : first + shape.rows]
                yield some, [tokens[number] for number in some]

    def _vectors(self, batch: list[list[int]]) -> np.ndarray:
        import torch  # noqa: PLC0415

        model, (rows, multiple) = self._model, self.shape
        batch = batch + batch[:1] * (rows - len(batch))
        padded = model.tokenizer.pad({"input_ids": batch}, pad_to_multiple_of=multiple, return_tensors="pt")
        with torch.inference_mode():
            found = model(padded.to(model.device))["sentence_embedding"].float()
            return (found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)).cpu().numpy()


@cache
def _cores() -> int:
    """How many cores this process was given, asked before its first text has one of its own."""
    import torch  # noqa: PLC0415

    return torch.get_num_threads()


def _take_one_core() -> None:
    """For what the calling thread computes, whatever threads that begin elsewhere in the process are given meanwhile."""
    import torch  # noqa: PLC0415

    torch.get_num_threads()  # else the thread takes the process's number over with its first operation
    torch.set_num_threads(1)


class _OneCoreEach:
    """While threads of `_take_one_core` work. Torch gives their number to all threads that begin later: not to those after the last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before = 1

    @contextmanager
    def __call__(self) -> Iterator[None]:
        import torch  # noqa: PLC0415

        with self._lock:
            if not self._inside:
                self._before = torch.get_num_threads()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    torch.set_num_threads(self._before)


_one_core_each = _OneCoreEach()
