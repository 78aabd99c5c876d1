"""`ingestion …`: the one command, its sub-commands imported only when used so that `--help` is quick."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_STACK = "ingestion_assets.stack.cli"
_LANDING = "ingestion_assets.landing.cli"
# The spine's own sub-commands; those of flows come beside them. Sub-command → the module that has it as, or within, its Typer `app`; and the line shown in the list.
COMMANDS = {
    "up": (_STACK, "Start the whole stack and keep it running until Ctrl-C."),
    "down": (_STACK, "Stop the stack of this home."),
    "status": (_STACK, "Show the addresses and processes of the stack."),
    "logs": (_STACK, "Show the ends of the programs' logs."),
    "demo": ("ingestion_assets.demo", "Show the whole system at work on made-up transcripts."),
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
    "retention": ("ingestion_assets.retention_command", "Show what is old enough to be deleted."),
    "settings": ("ingestion_assets.settings_table", "Print every setting as a Markdown table."),
}


class _OnUse(TyperCommand):
    """Stands for a sub-command in the list; is replaced by the real one when that is called."""

    def __init__(self, *, name: str, module: str, help: str) -> None:  # noqa: A002
        super().__init__(name=name, help=help)
        self.module = module

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        return self._real().make_context(info_name, args, parent=parent, **extra)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        return self._real().shell_complete(ctx, incomplete)

    def _real(self) -> Any:
        module = import_module(self.module)
        found = getattr(module, str(self.name), None)
        command = typer.main.get_command(found if isinstance(found, typer.Typer) else module.app)
        members = getattr(command, "commands", {})
        command = members.get(self.name, command)
        command.name = self.name
        return command


class _LazyGroup(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (module, line) in COMMANDS.items():
            self.add_command(_OnUse(name=name, module=module, help=line))

    def list_commands(self, ctx: Any) -> list[str]:
        """All, in the order in which they were added; those of flows last."""
        self._add_those_of_flows()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A sub-command. Flows are looked at only where the spine has none of that name."""
        if cmd_name not in self.commands:
            self._add_those_of_flows()
        return super().get_command(ctx, cmd_name)

    def _add_those_of_flows(self) -> None:
        from ingestion_assets.flows import all_flows  # noqa: PLC0415

        for one in (command for flow in all_flows().values() for command in flow.commands):
            known = self.commands.get(one.name)
            if known is not None and getattr(known, "module", None) != one.module:
                typer.echo(
                    f"The command {one.name} of {one.module} is left out: the name is taken.", err=True
                )
            elif known is None:
                self.add_command(_OnUse(name=one.name, module=one.module, help=one.help))


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def ingestion() -> None:
    """Durable ingestion over HTTP into Dagster assets: run it, feed it, look after it.

    Settings are environment variables; `ingestion settings` lists them.
    """
    import structlog  # noqa: PLC0415

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def main() -> None:
    """Entry point of the `ingestion` command."""
    try:
        app(prog_name="ingestion")
    except ValueError as error:
        from ingestion_assets.settings import wrong_settings  # noqa: PLC0415

        told = wrong_settings(error)
        if told is None:
            raise
        typer.echo(f"ingestion: {told}", err=True)
        sys.exit(2)
    except LookupError as error:
        from ingestion_assets.settings import MissingSettingError  # noqa: PLC0415

        if not isinstance(error, MissingSettingError):
            raise
        typer.echo(f"ingestion: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # a file or folder that a person can do something about
        if error.filename is None:
            raise
        from ingestion_assets.stack.failures import explained  # noqa: PLC0415

        typer.echo(f"ingestion: {explained(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
