"""How this package's events read in the logs of Dagster's programs: text, or JSON lines where the settings say so, as at the front door."""

import logging
import sys

import structlog

from ingestion_assets.settings import load_settings
from ingestion_assets.stores.error_text import tell_in_log


def print_event_lines() -> None:
    """Configure structlog, unless that was done so that somebody formats what it gives. Dagster does so for its own loggers alone."""
    through_logging = isinstance(structlog.get_config()["logger_factory"], structlog.stdlib.LoggerFactory)
    if structlog.is_configured() and (logging.getLogger().handlers or not through_logging):
        return
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if load_settings().log_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), tell_in_log,
            structlog.processors.format_exc_info, renderer,
        ],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # the stream of the moment
    )  # fmt: skip
