"""`ingestion settings`: every setting as a row of a Markdown table, those of flows last."""

from collections.abc import Iterator
from itertools import chain

import typer
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ingestion_assets.command_output import AsJson, print_json
from ingestion_assets.installed_flows import installed, parts
from ingestion_assets.settings import Settings

app = typer.Typer()


def settings_table() -> str:
    """All environment variables with default and meaning, as Markdown."""
    of_flows, _ = parts(installed(), "settings", lambda _flow, kind: _rows(kind))
    return "\n".join(
        [
            "| variable | default | meaning |",
            "| --- | --- | --- |",
            *_rows(Settings),
            *(row for rows in of_flows.values() for row in rows),
        ]
    )


def _rows(kind: type[BaseSettings]) -> list[str]:
    rows = []
    for variable, default, meaning in _said(kind):
        shown = "" if default is None else f"`{default}`"
        rows.append("| `{}` | {} | {} |".format(variable, shown, meaning.replace("|", "\\|")))
    return rows


def _said(kind: type[BaseSettings]) -> Iterator[tuple[str, str | None, str]]:
    """Variable, default and meaning of each."""
    for name, field in kind.model_fields.items():
        variable = field.validation_alias or f"{kind.model_config.get('env_prefix', '')}{name.upper()}"
        default = None if field.default in (None, PydanticUndefined) else str(field.default)
        yield str(variable), default, field.description or ""


@app.command()
def settings(as_json: AsJson = False) -> None:
    """Print every setting, its default and its meaning as a Markdown table."""
    if not as_json:
        typer.echo(settings_table())
        return
    of_flows, _ = parts(installed(), "settings", lambda _flow, kind: list(_said(kind)))
    print_json(
        {"variable": variable, "default": default, "meaning": meaning}
        for variable, default, meaning in (*_said(Settings), *chain(*of_flows.values()))
    )
