"""`ingestion settings`: every setting as a row of a Markdown table, those of flows last; and which variables are none of them."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
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


def _all_said() -> list[tuple[str, str | None, str]]:
    of_flows, _ = parts(installed(), "settings", lambda _flow, kind: list(_said(kind)))
    return [*_said(Settings), *chain(*of_flows.values())]


def no_settings(variables: Iterable[str]) -> list[str]:
    """A sentence for each variable that is called as ours are and is none: nobody heeds it."""
    known = [variable for variable, *_ in _all_said()]
    return [
        _no_setting(name, known)
        for name in sorted(variables)
        if name.upper().startswith("INGESTION_") and name.upper() not in known
    ]


def _no_setting(name: str, known: list[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1, cutoff=0.8)
    return f"{name} is no setting{f'; {near[0]} is one' if near else ''}"


@app.command()
def settings(as_json: AsJson = False) -> None:
    """Print every setting, its default and its meaning as a Markdown table."""
    if not as_json:
        typer.echo(settings_table())
        return
    print_json(
        {"variable": variable, "default": default, "meaning": meaning}
        for variable, default, meaning in _all_said()
    )
