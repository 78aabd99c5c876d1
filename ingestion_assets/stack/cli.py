"""`ingestion up`, `down`, `status`, `env` and `logs`."""

import os
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.text import Text

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.own_modules import module_of_project
from ingestion_assets.settings import Settings
from ingestion_assets.stack.places import Places

app = typer.Typer(no_args_is_help=True)

EXIT_NOT_RUNNING = 3
_DOWN_TIMEOUT_S = 30.0
_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")


def _settings() -> Settings:
    """The settings without `stack.env`: a stack must not take its own earlier addresses for given ones."""
    settings = Settings()  # pyright: ignore[reportCallIssue]
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


@app.command()
def up(
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return once the stack is ready; `ingestion down` stops it."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not show the programs' logs; they are in <home>/logs.")
    ] = False,
    module: Annotated[
        list[str] | None,
        typer.Option(
            "--module",
            "-m",
            help="A module of your own project, to run as a code location beside ours: `[location=]package.module[:attribute]`. "
            "Default: what Dagster loads in this folder by its pyproject.toml.",
        ),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            "-w",
            exists=True,
            dir_okay=False,
            resolve_path=True,
            help="A workspace.yaml with code locations of your own, to run beside ours.",
        ),
    ] = None,
) -> None:
    """Start the whole stack and keep it running until Ctrl-C.

    Starts PostgreSQL, MongoDB and Valkey unless their URLs are set, migrates the database, then starts the
    front door, Dagster's code server, webserver and daemon, and the workers. What dies is started again.
    The code of your own project is loaded again about a second after a file of it was saved.
    """
    from ingestion_assets.settings_table import no_settings  # noqa: PLC0415
    from ingestion_assets.stack.failures import explained  # noqa: PLC0415
    from ingestion_assets.stack.home_lock import AlreadyRunningError  # noqa: PLC0415
    from ingestion_assets.stack.ports import PortTaken  # noqa: PLC0415
    from ingestion_assets.stack.up import StackError, run_stack  # noqa: PLC0415

    if workspace is not None:
        os.environ["INGESTION_WORKSPACE"] = str(workspace)
    _name_project(module)
    settings = _settings()
    for fault in no_settings(os.environ):
        typer.echo(f"ingestion up: {fault}", err=True)
    try:
        if detach:
            _up_detached(Places(settings.home))
        else:
            run_stack(settings=settings, show=_Screen(quiet=quiet).show)
    except (AlreadyRunningError, StackError, PortTaken) as error:
        typer.echo(f"ingestion up: {error}", err=True)
        raise typer.Exit(1) from None
    except (OSError, LookupError, ImportError) as error:
        typer.echo(f"ingestion up: {explained(error)}", err=True)
        raise typer.Exit(1) from None


def _name_project(modules: list[str] | None) -> None:
    """Have the settings name the modules given here, else those of the project in this folder, and the folder."""
    found = ",".join(modules) if modules else os.environ.get("INGESTION_MODULES") or module_of_project(Path())
    if found:
        os.environ["INGESTION_MODULES"] = found
        # Programs of the stack run in other folders.
        os.environ["INGESTION_PROJECT"] = str(Path(os.environ.get("INGESTION_PROJECT", "")).absolute())


@app.command()
def down() -> None:
    """Stop the stack of this home, wherever it was started, and whatever a killed one left behind."""
    from ingestion_assets.stack.home_lock import holder_of  # noqa: PLC0415
    from ingestion_assets.stack.leftovers import end_leftovers  # noqa: PLC0415

    places = Places(_settings().home)
    process = holder_of(places)
    if process is not None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_DOWN_TIMEOUT_S)
        except psutil.TimeoutExpired:
            typer.echo(
                f"ingestion down: process {process.pid} did not end in {_DOWN_TIMEOUT_S:.0f} s", err=True
            )
            raise typer.Exit(1) from None
    ended = end_leftovers(places.home) if places.home.exists() else 0
    typer.echo("stopped" if process is not None or ended else f"no stack runs in {places.home}")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the addresses and processes of the stack. Exits with 3 if it does not run or is not ready."""
    from ingestion_assets.stack.home_lock import holder_of  # noqa: PLC0415
    from ingestion_assets.stack.loadable_code import unloadable_code  # noqa: PLC0415
    from ingestion_assets.stack.ready_file import ready_stack  # noqa: PLC0415
    from ingestion_assets.stack.supervision import Supervisor  # noqa: PLC0415

    places = Places(_settings().home)
    ready = ready_stack(places.ready)
    runs = holder_of(places) is not None
    try:
        states = Supervisor(places.supervisor_socket).states() if runs else []
    except OSError:
        states = []
    is_ready = (
        runs and ready is not None and bool(states) and all(state.state == "RUNNING" for state in states)
    )
    addresses = (ready or {}).get("addresses", {}) if runs else {}
    unloadable = unloadable_code(places) if runs else {}
    if as_json:
        print_json(
            [
                {
                    "home": str(places.home),
                    "ready": is_ready,
                    "addresses": addresses,
                    "programs": states,
                    "unloadable": unloadable,
                }
            ]
        )
    elif not runs:
        typer.echo(f"no stack runs in {places.home}; start one with `ingestion up`")
    else:
        print_table(
            ("program", "state", "pid", "uptime"),
            (
                (state.name, state.state.lower(), state.pid or "", state.description.partition("uptime ")[2])
                for state in states
            ),
        )
        for name, address in addresses.items():
            typer.echo(f"{name:<12} {address}")
        for name, error in unloadable.items():
            typer.echo(f"code location {name}: {error}")
        if not is_ready:
            typer.echo("not ready")
    if not is_ready:
        raise typer.Exit(EXIT_NOT_RUNNING)


@app.command()
def env() -> None:
    """Print the running stack's environment: `eval "$(ingestion env)"`, then use `dagster …` as usual.

    The lines hold passwords.
    """
    from ingestion_assets.stack.environment_file import read_environment, shell_exports  # noqa: PLC0415
    from ingestion_assets.stack.home_lock import holder_of  # noqa: PLC0415

    places = Places(_settings().home)
    values = read_environment(places.environment)
    if not values or holder_of(places) is None:  # one that was killed leaves the file
        typer.echo(f"no stack runs in {places.home}; start one with `ingestion up`", err=True)
        raise typer.Exit(EXIT_NOT_RUNNING)
    typer.echo(shell_exports(values))


@app.command()
def logs(
    programs: Annotated[
        list[str] | None, typer.Argument(help="Names as in `ingestion status`; default: all.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on showing what is added, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Lines of each program to begin with.")
    ] = 20,
) -> None:
    """Show the ends of the programs' logs."""
    from ingestion_assets.stack.program_logs import LogTail, last_lines  # noqa: PLC0415

    places = Places(_settings().home)
    known = {path.stem: path for path in sorted(places.logs.glob("*.log"))}
    unknown = [name for name in programs or () if name not in known]
    if unknown or not known:
        missing = ", ".join(unknown) or "any program"
        typer.echo(f"no log of {missing} in {places.logs}; there are: {', '.join(known) or 'none'}", err=True)
        raise typer.Exit(1)
    screen = _Screen(quiet=False)
    chosen = {name: known[name] for name in programs or known}
    tails = {name: LogTail(path) for name, path in chosen.items()}
    for name, path in chosen.items():
        for line in last_lines(path, lines):
            screen.show(name, line)
    while follow:
        time.sleep(0.2)
        for name, tail in tails.items():
            for line in tail.new_lines():
                screen.show(name, line)


class _Screen:
    """Prints lines with the coloured name of their program before them."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._colours = cycle(_COLOURS)
        self._chosen = {"stack": "bold"}

    def show(self, program: str, line: str) -> None:
        if self._quiet and program != "stack":
            return
        colour = self._chosen.setdefault(program, next(self._colours))
        try:
            self._console.print(Text.assemble((f"{program:<14} │ ", colour), Text.from_ansi(line)))
        except OSError:  # the terminal is gone; the logs are in files as well
            self._quiet = True


def _up_detached(places: Places) -> None:
    """Run `ingestion up` in a session of its own and return once it is ready, or exit with what it said."""
    from ingestion_assets.stack.home_lock import locked  # noqa: PLC0415
    from ingestion_assets.stack.program_logs import last_lines  # noqa: PLC0415
    from ingestion_assets.stack.ready_file import ready_stack  # noqa: PLC0415

    places.create()
    with locked(places):  # one that runs already goes on writing to its log
        pass
    log = places.logs / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            (sys.executable, "-m", "ingestion_assets.cli", "up", "--quiet"),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env=os.environ | {"INGESTION_HOME": str(places.home)}, cwd=_existing(places.home),
        )  # fmt: skip
    while (ready := ready_stack(places.ready)) is None or ready["pid"] != process.pid:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        typer.echo("\n".join(last_lines(log, 40)), err=True)
        raise typer.Exit(1)
    typer.echo("\n".join(last_lines(log, len(ready["addresses"]) + 1)))


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
