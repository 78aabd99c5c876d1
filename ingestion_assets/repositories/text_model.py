"""The model of text: loaded when a process first needs it, and kept by it."""

import threading

from ingestion_assets.embedding.text import TextModel
from ingestion_assets.orchestration.memory_watch import loading_to_stay

_LOADING = threading.Lock()


def text_model(name: str) -> TextModel:
    """The model. Raises `embedding.text.UnknownModelError`."""
    with _LOADING, loading_to_stay():
        return TextModel.load(name)
