"""`ingestion …`: the one command, its sub-commands imported only when used so that `--help` is quick."""

import sys

import typer

from ingestion_assets.subcommands import group_of

_STACK = "ingestion_assets.stack.cli"
_LANDING = "ingestion_assets.landing.cli"
# The spine's own sub-commands; those of flows come beside them. Sub-command → the module that has it as, or within, its Typer `app`; and the line shown in the list.
COMMANDS = {
    "up": (_STACK, "Start the whole stack and keep it running until Ctrl-C."),
    "down": (_STACK, "Stop the stack of this home."),
    "status": (_STACK, "Show the addresses and processes of the stack."),
    "doctor": ("ingestion_assets.doctor", "Look for what is wrong, and say how to mend it."),
    "logs": (_STACK, "Show the ends of the programs' logs."),
    "demo": ("ingestion_assets.demo", "Show the whole system at work on made-up data."),
    "env": (_STACK, "Print the running stack's environment for your shell."),
    "send": ("ingestion_assets.sending.cli", "Send files to the front door."),
    "keys": ("ingestion_assets.frontdoor.cli", "Create, list and revoke API keys."),
    "receipts": (_LANDING, "Look up what became of accepted payloads."),
    "rejects": (_LANDING, "List, show, redrive and discard records that were rejected."),
    "drops": (_LANDING, "See which accepted payloads wait, have them taken."),
    "segments": (
        "ingestion_assets.landing.segments_cli",
        "List and give up what cannot be read on landing storage.",
    ),
    "secrets": ("ingestion_assets.secrets_command", "Seal the secrets in the database with another key."),
    "checks": ("ingestion_assets.checks_command", "Evaluate the checks, for a CI to heed."),
    "zones": ("ingestion_assets.zones.cli", "List and check drop zones, send files to one."),
    "listen": ("ingestion_assets.zones.listen_command", "Show payloads of a drop zone as they arrive."),
    "retention": ("ingestion_assets.retention_command", "Show what is old enough to be deleted."),
    "settings": ("ingestion_assets.settings_table", "Print every setting as a Markdown table."),
}


app = typer.Typer(
    cls=group_of(COMMANDS, lambda flow: flow.commands), no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback()
def ingestion() -> None:
    """Durable ingestion over HTTP into Dagster assets: run it, feed it, look after it.

    Settings are environment variables; `ingestion settings` lists them.
    """
    import structlog  # noqa: PLC0415

    # The stream of the moment: what it is now may be closed when the next event comes.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def main() -> None:
    """Entry point of the `ingestion` command."""
    try:
        app(prog_name="ingestion")
    except Exception as error:
        from ingestion_assets.command_errors import ending  # noqa: PLC0415

        ends = ending(error)
        if ends is None:
            raise
        sentence, status = ends
        typer.echo(f"ingestion: {sentence}", err=True)
        sys.exit(status)


if __name__ == "__main__":
    main()
