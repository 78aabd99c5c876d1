"""Sending rejects again from a shell: through the front door, which alone lands payloads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import typer

from ingestion_assets import proxies
from ingestion_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import httpx

ADDRESS = "/api/v1/rejects"
REFUSED, NO_ANSWER = 1, 2
"""Exit statuses: the front door refuses what is asked; it cannot be asked."""


@dataclass(slots=True)
class Sent:
    """How many rejects were sent again, and how many were not, by what is said of them."""

    count: int = 0
    left: Counter[str] = field(default_factory=Counter)


def redrive_matching(filters: Mapping[str, str], sent: Sent) -> None:
    """Send again what is open now and matches, each once: what is rejected anew meanwhile is not. Raises `typer.Exit`."""
    parameters = dict(filters)
    with _client() as client:
        while True:
            answer = _post(client, f"{ADDRESS}/redrive", parameters)
            if answer.is_error:
                raise _refused(answer)
            page = answer.json()
            sent.count += len(page["items"])
            sent.left.update(f"of {one['flow']}: {one['reason']}" for one in page["left"])
            if page["next"] is None:
                return
            parameters["cursor"] = page["next"]


def redrive_each(ids: Sequence[UUID], sent: Sent) -> None:
    """Send these again; one that cannot be harms no other. Raises `typer.Exit`."""
    with _client() as client:
        for one in ids:
            answer = _post(client, f"{ADDRESS}/{one}/redrive", {})
            if answer.status_code in {404, 409}:
                sent.left[f"{one}: {_detail(answer)}"] += 1
            elif answer.is_error:
                raise _refused(answer)
            else:
                sent.count += 1


def _client() -> "httpx.Client":
    import httpx  # noqa: PLC0415

    settings = load_settings()
    base = settings.front_door_url
    return httpx.Client(
        base_url=base,
        headers={"X-API-Key": _token(settings)},
        timeout=300,
        trust_env=proxies.stand_before(base),
    )


def _post(client: "httpx.Client", address: str, parameters: Mapping[str, str]) -> "httpx.Response":
    import httpx  # noqa: PLC0415

    try:
        return client.post(address, params=dict(parameters))
    except httpx.HTTPError as error:
        typer.echo(
            f"The front door at {client.base_url} cannot be asked ({error}); start it with `ingestion up`.",
            err=True,
        )
        raise typer.Exit(NO_ANSWER) from error


def _refused(answer: "httpx.Response") -> typer.Exit:
    typer.echo(_detail(answer), err=True)
    return typer.Exit(NO_ANSWER if answer.status_code >= 500 or answer.status_code == 429 else REFUSED)


def _detail(answer: "httpx.Response") -> str:
    try:
        return answer.json()["detail"]
    except (ValueError, LookupError, TypeError):  # of something that stands before the front door
        return f"The front door answers {answer.status_code}."


def _token(settings: Settings) -> str:
    """The admin token, since to send again takes the scope `admin`, which a key to send with mostly lacks; else the key that there is."""
    path = settings.home / "admin_token"
    if settings.admin_token is None and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    secret = settings.admin_token or settings.api_key
    return secret.get_secret_value() if secret else ""
