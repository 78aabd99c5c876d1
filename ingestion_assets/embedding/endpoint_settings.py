"""The setting that names servers of embedding models: `INGESTION_EMBEDDING_ENDPOINTS`."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from ingestion_assets.settings import Settings

WIDEST = 4000  # dimensions: what an index over halfvec takes


class Endpoint(BaseModel):
    """One server of `INGESTION_EMBEDDING_ENDPOINTS`.

    `window_tokens` is what its models read of a text. Tokens are counted with `tokenizer` (a `tokenizer.json`); without one each byte
    of UTF-8 counts as one, the most that a tokenizer makes of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: Annotated[str, Field(pattern=r"^https?://[^/@?#]+(/[^?#]*)?$")]
    key: SecretStr | None = None
    models: Annotated[list[str], Field(min_length=1)]
    dimensions: Annotated[int | None, Field(ge=1, le=WIDEST)] = None
    window_tokens: Annotated[int, Field(ge=16)] = 8191
    tokenizer: Path | None = None
    batch_texts: Annotated[int, Field(ge=1, le=2048)] = 128
    batch_tokens: Annotated[int, Field(ge=16)] = 100_000
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class WrongEndpointsError(ValueError):
    """The setting is no list of endpoints; says what is wrong."""


def endpoints(settings: Settings) -> list[Endpoint]:
    """Those of the setting. Raises `WrongEndpointsError`, without the keys in it."""
    if settings.embedding_endpoints is None:
        return []
    given = settings.embedding_endpoints.get_secret_value()
    try:
        return TypeAdapter(list[Endpoint]).validate_json(given or "[]")
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise WrongEndpointsError(f"INGESTION_EMBEDDING_ENDPOINTS: {wrong}") from None
