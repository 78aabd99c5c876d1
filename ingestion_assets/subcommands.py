"""Sub-commands that are imported only when used, so that `--help` is quick: those of the spine, then those of flows."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ingestion_assets.landing.flows import Command, Flow

OF_THE_WHOLE = ("install_completion", "show_completion")
"""Options that stand at `ingestion` itself."""


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
        command.help = command.help or self.help
        command.params = [one for one in command.params if one.name not in OF_THE_WHOLE]
        return command


def group_of(
    own: Mapping[str, tuple[str, str]], of_flow: Callable[[Flow], Iterable[Command]]
) -> type[TyperGroup]:
    """A group of `own` sub-commands (name → module and line shown), and of those that `of_flow` gives of each flow."""

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, (module, line) in own.items():
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
            from ingestion_assets.installed_flows import all_flows  # noqa: PLC0415

            for one in (command for flow in all_flows().values() for command in of_flow(flow)):
                known = self.commands.get(one.name)
                if known is not None and getattr(known, "module", None) != one.module:
                    typer.echo(
                        f"The command {one.name} of {one.module} is left out: the name is taken.", err=True
                    )
                elif known is None:
                    self.add_command(_OnUse(name=one.name, module=one.module, help=one.help))

    return Group
