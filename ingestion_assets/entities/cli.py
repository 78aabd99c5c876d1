"""`ingestion entities`: check definition files, show the tables and the documentation that follow from them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ingestion_assets.entities import entity_tables, evolution
from ingestion_assets.entities.active_definitions import read_note
from ingestion_assets.entities.definition import Entity, json_schema
from ingestion_assets.entities.definition_files import (
    FaultyDefinitionsError,
    definition_paths,
    digest,
    read_entities,
)
from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.settings import load_settings

app = typer.Typer(name="entities", no_args_is_help=True, help="Check and show entity definitions.")

Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH…", help="Definition files or folders. Default: those of the settings."),
]


@app.command("check")
def check(
    paths: Paths = None,
    database: Annotated[
        bool,
        typer.Option("--database/--no-database", help="Also ask the database whether its tables can follow."),
    ] = True,
) -> None:
    """Check definitions; errors are printed as file:line:column. Exit status 1 if something is wrong."""
    entities = _read(paths)
    typer.echo(f"{len(entities.entities)} entities: {', '.join(one.entity for one in entities.entities)}")
    url = load_settings().postgres_url
    if not database or url is None:
        return
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            made, refusals = evolution.changes(connection, entities)
    except psycopg.OperationalError as error:
        typer.echo(f"The database was not asked: {error}", err=True)
        return
    statements = [statement for one in made for statement in (*one.table, *one.references)]
    said = _refused_before(paths) or (str(evolution.IncompatibleTableError(refusals)) if refusals else None)
    if said is not None:
        typer.echo(said, err=True)
        raise typer.Exit(1)
    typer.echo("The tables agree." if not statements else "The tables are to change:")
    for statement in statements:
        typer.echo(f"{statement.as_string()};")


def _refused_before(paths: list[Path] | None) -> str | None:
    """What a running stack found when it tried these files, which PostgreSQL may refuse for reasons that nobody foresees."""
    settings = load_settings()
    note = read_note(settings.home)
    if paths or note is None or note.files != digest(definition_paths(settings.home)):
        return None
    return note.refused


@app.command("ddl")
def ddl(paths: Paths = None) -> None:
    """Print the statements that make the tables from nothing."""
    typer.echo(
        f"CREATE SCHEMA IF NOT EXISTS {entity_tables.SCHEMA};\n{entity_tables.ddl(_read(paths))}", nl=False
    )


@app.command("docs")
def docs(paths: Paths = None) -> None:
    """Print documentation of the messages as Markdown."""
    typer.echo("\n".join(markdown(entity) for entity in _read(paths).entities), nl=False)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of definition files, for editors."""
    typer.echo(json.dumps(json_schema(), indent=2))


def markdown(entity: Entity) -> str:
    """What a sender must know of an entity."""
    formats = entity.formats
    lines = [
        f"## {entity.entity}",
        "",
        *([entity.description, ""] if entity.description else []),
        f"Table `{entity_tables.SCHEMA}.{entity.table}`, primary key ({', '.join(entity.primary_key)}). A line is",
        "",
        f"    {'|'.join((entity.prefix, *entity.names))}",
        "",
        "| field | name | type | may be missing | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, field in enumerate(entity.fields, 2):
        said = [field.description] if field.description else []
        said += [f"one of {', '.join(field.values)}"] if field.values else []
        said += [f"references {one.entity}" for one in entity.references if field.name in one.fields]
        written = {"date": f"date, {formats.date}", "timestamp": f"timestamp, {formats.timestamp}"}
        kind = written.get(field.type, entity_tables.column_type(field))
        lines.append(
            f"| {number} | `{field.name}` | {kind} | {'yes' if field.nullable else 'no'} | {'; '.join(said)} |"
        )
    missing = f"`{formats.missing}`" if formats.missing else "nothing between the `|`"
    return "\n".join(
        [*lines, "", f"A missing value is {missing}; decimals are written like `1{formats.decimal}5`.", ""]
    )


def _read(paths: list[Path] | None) -> EntitySet:
    settings = load_settings()
    try:
        return read_entities(paths or definition_paths(settings.home))
    except FaultyDefinitionsError as error:
        console = Console(stderr=True)
        for fault in error.faults:
            console.print(str(fault), soft_wrap=True, highlight=False, markup=False)
        if not paths and (note := read_note(settings.home)) is not None:
            names = ", ".join(one.entity for one in note.entities)
            console.print(
                f"Until that is repaired the last good definitions are active: {names}", soft_wrap=True
            )
        raise typer.Exit(1) from error
