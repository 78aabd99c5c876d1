"""`ingestion send …`: what can be sent to the front door. Each flow brings its own senders (`Flow.senders`)."""

import typer

from ingestion_assets.subcommands import group_of

app = typer.Typer(
    name="send", no_args_is_help=True, cls=group_of({}, lambda flow: flow.senders),
    help="Send local data to the front door, or make sample data to send.",
)  # fmt: skip


@app.callback()
def send() -> None:
    """Send local data to the front door, or make sample data to send."""
