"""What commands ask of the front door; what that refuses is said and ends the command."""

from collections.abc import Mapping
from typing import Any

import httpx
import typer

from ingestion_assets.sending.options import front_door, key_of
from ingestion_assets.settings import load_settings

REFUSED, NO_ANSWER = 1, 2
"""Exit statuses: the front door refuses what is asked; it cannot be asked."""


def ask(
    url: str | None, method: str, path: str, parameters: Mapping[str, Any] | None = None, *, body: Any = None
) -> Any:
    """The answer's JSON; `path` is below `/api/v1`. Raises `typer.Exit`."""
    settings = load_settings()
    base = (url or settings.public_url or front_door(settings)).rstrip("/")
    headers = {"X-API-Key": key_of(settings) or ""}
    try:
        with httpx.Client(base_url=f"{base}/api/v1", headers=headers, timeout=120) as client:
            answer = client.request(method, path, params=parameters, json=body)
    except httpx.HTTPError as error:
        typer.echo(
            f"The front door at {base} cannot be asked ({type(error).__name__}); is the stack up?", err=True
        )
        raise typer.Exit(NO_ANSWER) from None
    if answer.is_error:
        typer.echo(_why(answer), err=True)
        raise typer.Exit(NO_ANSWER if answer.status_code >= 500 else REFUSED)
    return answer.json() if answer.content else None


def _why(answer: httpx.Response) -> str:
    try:
        said = answer.json()
        places = "".join(
            f"\n  {'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in said.get("errors", [])
        )
        return f"{said['detail']}{places}"
    except (ValueError, LookupError, TypeError):
        return f"The front door answers {answer.status_code}."
