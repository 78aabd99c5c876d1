"""`ingestion send …`: what can be sent to the front door, and samples to try it with."""

import typer

from ingestion_assets.sending.claude_command import send_claude, write_sample
from ingestion_assets.sending.drupal_command import send_drupal
from ingestion_assets.sending.entities_command import send_entities

app = typer.Typer(
    name="send", no_args_is_help=True, help="Send local data to the front door, or make sample data to send."
)
app.command("claude")(send_claude)
app.command("entities")(send_entities)
app.command("drupal")(send_drupal)
app.command("sample")(write_sample)
