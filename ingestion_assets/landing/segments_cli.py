"""`ingestion segments`: what on landing storage cannot be read, and giving it up."""

from typing import Annotated

import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.landing import late_segments
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import engine

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_segments(as_json: AsJson = False) -> None:
    """List the segments that cannot be read as a whole. What can be read of them is ingested already."""
    with engine().connect() as connection:
        found = late_segments.list_unreadable(connection)
    if as_json:
        print_json(found)
        return
    print_table(
        ("segment", "since (UTC)", "why"),
        ((one.path, f"{one.since:%Y-%m-%d %H:%M:%S}", one.reason) for one in found),
    )


@app.command("discard")
def discard(
    paths: Annotated[list[str], typer.Argument(help="The segments, as `list` shows them.")],
) -> None:
    """Give up what cannot be read of segments. The files are kept under `discarded/` where no payload needs them."""
    storage = open_storage(load_settings())
    unknown = 0
    for path in paths:
        with engine().begin() as connection:
            if late_segments.discard(connection, storage, path):
                typer.echo(f"{path} is given up.")
            else:
                unknown += 1
                typer.echo(f"{path} is not among the unreadable segments.", err=True)
    if unknown:
        raise typer.Exit(1)
