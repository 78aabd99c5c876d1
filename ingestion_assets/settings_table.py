"""`ingestion settings`: every setting as a row of a Markdown table."""

import typer
from pydantic_core import PydanticUndefined

from ingestion_assets.settings import Settings

app = typer.Typer()


def settings_table() -> str:
    """All environment variables with default and meaning, as Markdown."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        meaning = (field.description or "").replace("|", "\\|")
        variable = field.validation_alias or f"INGESTION_{name.upper()}"
        rows.append(f"| `{variable}` | {default} | {meaning} |")
    return "\n".join(rows)


@app.command()
def settings() -> None:
    """Print every setting, its default and its meaning as a Markdown table."""
    typer.echo(settings_table())
