"""`ingestion settings`: every setting as a row of a Markdown table, those of flows last."""

import typer
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from ingestion_assets.flows import installed, parts
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
    for name, field in kind.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        meaning = (field.description or "").replace("|", "\\|")
        variable = field.validation_alias or f"{kind.model_config.get('env_prefix', '')}{name.upper()}"
        rows.append(f"| `{variable}` | {default} | {meaning} |")
    return rows


@app.command()
def settings() -> None:
    """Print every setting, its default and its meaning as a Markdown table."""
    typer.echo(settings_table())
