"""What every `ingestion send …` asks alike: where to, with which key, for how long, how much to say."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ingestion_assets.durations import duration_option
from ingestion_assets.settings import Settings

FIVE_MINUTES: Any = "5m"  # typer hands the text to the parser
Url = Annotated[
    str | None, typer.Option(help="Address of the front door. Default: that of the running stack.")
]
Key = Annotated[
    str | None, typer.Option(help="API key. Default: $INGESTION_API_KEY, then the stack's own admin token.")
]
RetryFor = Annotated[
    float,
    typer.Option(
        parser=duration_option,
        metavar="DURATION",
        help="How long to retry while the server is away: 30s, 5m, 2h.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Wait until the outcome of every line is known.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what went wrong.")]


def key_of(settings: Settings) -> str | None:
    for secret in (settings.api_key, settings.admin_token):
        if secret is not None:
            return secret.get_secret_value()
    token = settings.home / "admin_token"
    return token.read_text(encoding="utf-8").strip() if token.is_file() else None


def state_file(settings: Settings) -> Path:
    if settings.home.is_dir():
        return settings.home / "sending" / "state.sqlite"
    return Path(typer.get_app_dir("ingestion")) / "sending.sqlite"
