"""What commands ask of the front door; what that refuses is said and ends the command."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import typer

from ingestion_assets import proxies
from ingestion_assets.sending.options import key_of
from ingestion_assets.settings import load_settings

REFUSED, NO_ANSWER = 1, 2
"""Exit statuses: the front door refuses what is asked; it cannot be asked."""
PAGE = 100


class NoAnswerError(Exception):
    """The front door cannot be asked, or cannot answer at this time; says so."""


class RefusedError(Exception):
    """The front door refuses what is asked; says why."""


def ask(
    url: str | None, method: str, path: str, parameters: Mapping[str, Any] | None = None, *, body: Any = None
) -> Any:
    """The answer's JSON; `path` is below `/api/v1`. Raises `typer.Exit`."""
    with or_end(), opened(url) as client:
        return answer_of(client, method, path, parameters, body=body)


def ask_list(
    url: str | None, path: str, parameters: Mapping[str, Any], *, limit: int | None = None
) -> list[Any]:
    """A list's first `limit` items, on as many pages as it has; says where there are more. Raises `typer.Exit`."""
    found: list[Any] = []
    place: dict[str, Any] = {}
    with or_end(), opened(url) as client:
        while limit is None or len(found) < limit:
            most = PAGE if limit is None else min(PAGE, limit - len(found))
            page = answer_of(client, "GET", path, {**parameters, **place, "limit": most})
            found += page["items"]
            if page["next"] is None:
                return found
            place = {"cursor": page["next"]}
    typer.echo(f"There are more than these {limit}: `--limit` says how many are listed.", err=True)
    return found


@contextmanager
def or_end() -> Iterator[None]:
    """What the front door refuses or cannot answer in here is said and ends the command: raises `typer.Exit`."""
    try:
        yield
    except (NoAnswerError, RefusedError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(NO_ANSWER if isinstance(error, NoAnswerError) else REFUSED) from None


def opened(url: str | None) -> httpx.Client:
    """A client of the front door at `url`, of the running stack where that is None. Raises `typer.BadParameter`."""
    settings = load_settings()
    base = (url or settings.front_door_url).rstrip("/")
    headers = {"X-API-Key": key_of(settings) or ""}
    try:
        return httpx.Client(
            base_url=f"{base}/api/v1", headers=headers, timeout=120, trust_env=proxies.stand_before(base)
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise typer.BadParameter(f"it is no address: {error}", param_hint="--url") from None


def answer_of(
    client: httpx.Client,
    method: str,
    path: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    body: Any = None,
) -> Any:
    """The answer's JSON. Raises `NoAnswerError`, `RefusedError`."""
    try:
        answer = client.request(method, path, params=parameters, json=body)
    except httpx.HTTPError as error:
        base = str(client.base_url).rstrip("/").removesuffix("/api/v1")
        raise NoAnswerError(
            f"The front door at {base} cannot be asked ({type(error).__name__}); is the stack up?"
        ) from error
    if answer.is_error:
        raise (NoAnswerError if answer.status_code >= 500 or answer.status_code == 429 else RefusedError)(
            _why(answer)
        )
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
