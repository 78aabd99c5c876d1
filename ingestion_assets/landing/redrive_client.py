"""Sending rejects again from a shell: through the front door, which alone lands payloads."""

import typer

from ingestion_assets.settings import load_settings


def redrive_through_door(address: str, parameters: dict[str, str]) -> int:
    """Ask for it at this address until there are no more; gives how many were. Raises `typer.Exit`."""
    import httpx  # noqa: PLC0415

    settings = load_settings()
    token = settings.admin_token.get_secret_value() if settings.admin_token else _stored_token()
    with httpx.Client(
        base_url=f"http://{settings.host}:{settings.port}", headers={"X-API-Key": token}, timeout=300
    ) as client:
        count = 0
        while True:
            try:
                answer = client.post(address, params=parameters)
            except httpx.HTTPError as error:
                typer.echo(
                    f"The front door at {client.base_url} does not answer ({error}); start it with `ingestion up`.",
                    err=True,
                )
                raise typer.Exit(1) from error
            if answer.is_error:
                typer.echo(answer.json().get("detail", answer.text), err=True)
                raise typer.Exit(1)
            body = answer.json()
            if "items" not in body:
                return 1
            count += len(body["items"])
            if body["next"] is None:
                return count


def _stored_token() -> str:
    path = load_settings().home / "admin_token"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
