"""Pages read by a model that sees their picture, behind an OpenAI-compatible endpoint. The parsing child has no network: its parent asks."""

import base64
from collections.abc import Callable

import httpx
import tenacity

from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.tls_context import tls_context

ASKED = (
    "Write down the text of this page as Markdown, in reading order, tables as Markdown tables, formulas as LaTeX between dollar signs. "
    "Write nothing that is not on the page, and nothing where it holds no text."
)
TIMEOUT_S = 120.0
MOST_TOKENS = 4096


def reader(settings: DocumentsSettings) -> Callable[[bytes, int], str] | None:
    """Reads a page from its picture (PNG, number); None where no endpoint is set."""
    if settings.documents_llm_url is None:
        return None
    url = f"{settings.documents_llm_url.rstrip('/')}/chat/completions"
    key = settings.documents_llm_key.get_secret_value() if settings.documents_llm_key else None
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    @tenacity.retry(
        retry=tenacity.retry_if_exception(_passes), wait=tenacity.wait_exponential(multiplier=0.5), stop=tenacity.stop_after_attempt(4),
        reraise=True,
    )  # fmt: skip
    def read(png: bytes, _page: int) -> str:
        picture = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        content = [{"type": "text", "text": ASKED}, {"type": "image_url", "image_url": {"url": picture}}]
        body = {
            "model": settings.documents_llm_model, "max_tokens": MOST_TOKENS, "temperature": 0,
            "messages": [{"role": "user", "content": content}],
        }  # fmt: skip
        answer = httpx.post(url, json=body, headers=headers, timeout=TIMEOUT_S, verify=tls_context())
        answer.raise_for_status()
        said = answer.json()["choices"][0]["message"]["content"]
        return said if isinstance(said, str) else ""

    return read


def _passes(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in {429, 500, 502, 503, 504}
    return isinstance(error, httpx.TransportError)
