"""Logging of the front door: one line an event, as text or JSON, the access line included."""

import logging
import sys
import time

import structlog

from ingestion_assets.stores.error_text import tell_in_log


def configure_logging(*, level: str, as_json: bool) -> None:
    """Send structlog and the standard library's loggers through one formatter to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, tell_in_log, structlog.processors.format_exc_info,
                    structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )  # fmt: skip
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, tell_in_log, structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    access = logging.getLogger("ingestion.access")
    access.handlers = [_access_handler(as_json=as_json)]
    access.propagate = False
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore"):
        logging.getLogger(chatty).handlers = []
        logging.getLogger(chatty).propagate = chatty != "uvicorn.access"
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _access_handler(*, as_json: bool) -> logging.Handler:
    """Access lines are many; they skip structlog's chain."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if as_json else TextLine("%(asctime)s access %(message)s"))
    return handler


class TextLine(logging.Formatter):
    """In UTC, and written as structlog writes it: the lines stand among each other."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class JsonLine(TextLine):
    """As an object."""

    def format(self, record: logging.LogRecord) -> str:
        import msgspec  # noqa: PLC0415

        line = {
            "timestamp": self.formatTime(record),
            "logger": record.name,
            "level": "info",
            "event": record.getMessage(),
        }
        return msgspec.json.encode(line).decode()
