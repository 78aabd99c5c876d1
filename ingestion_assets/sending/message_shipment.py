"""One run of `ingestion send entities`: puts the parts together, shows progress, ends with an exit status and totals."""

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.sending.delivery import AccessDeniedError, Delivery, GaveUpError, StoppedError
from ingestion_assets.sending.memory import StateFileError
from ingestion_assets.sending.message_files import MessageFile
from ingestion_assets.sending.message_stream import OutOfStepError, Sent, StreamMemory, send_stream
from ingestion_assets.sending.report import EXIT_GAVE_UP, EXIT_INTERRUPTED, EXIT_PROBLEMS, EXIT_USAGE
from ingestion_assets.sending.shipment import LEAST_PATIENCE_S, stop_on_signals


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageShipment:
    """What to send, where to, and how."""

    files: tuple[str, ...]
    prefix: str | None
    url: str
    key: str | None
    state: Path
    concurrency: int
    retry_for_s: float
    wait: bool
    reset: bool
    quiet: bool


def prefix_of(entity: str) -> str:
    """The prefix of an entity, given by its name or prefix. Raises `LookupError` with those there are."""
    entities = defined_entities()
    for one in entities.entities:
        if entity in {one.entity, one.prefix}:
            return one.prefix
    known = ", ".join(f"{one.entity} ({one.prefix})" for one in entities.entities)
    raise LookupError(f"there is no entity {entity}; there are {known}")


def ship_messages(shipment: MessageShipment, *, console: Console) -> tuple[int, str, Sent]:
    """Send it. Gives the exit status, why it ended, and what was sent."""
    files = [MessageFile(path, shipment.prefix) for path in shipment.files]
    target = shipment.url.rstrip("/")
    memory = StreamMemory(shipment.state)
    sent = Sent("")
    with stop_on_signals() as stop:
        try:
            if shipment.reset:
                memory.ended(target=target, files=files)
            sent.stream = memory.name_for(target=target, files=files)
            _send(shipment, files, sent=sent, stop=stop, console=console)
            memory.ended(target=target, files=files)
        except StoppedError:
            return EXIT_INTERRUPTED, "stopped; run the same command again to go on", sent
        except (AccessDeniedError, OutOfStepError, StateFileError, OSError) as error:
            return EXIT_USAGE, str(error), sent
        except GaveUpError as error:
            return EXIT_GAVE_UP, f"gave up: {error}; run the same command again to go on", sent
    return (EXIT_PROBLEMS if sent.totals.get("failed") or sent.problems else 0), "complete", sent


def _send(
    shipment: MessageShipment,
    files: list[MessageFile],
    *,
    sent: Sent,
    stop: threading.Event,
    console: Console,
) -> None:
    def outage(reason: str | None, pause_s: float) -> None:
        if reason is not None and not shipment.quiet:
            console.print(
                f"{reason}; trying again in {pause_s:.1f} s", soft_wrap=True, highlight=False, markup=False
            )

    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=shipment.quiet or not console.is_terminal,
    )  # fmt: skip
    task = progress.add_task("sending", total=sum(file.size for file in files) or None)

    def tick() -> None:
        waiting = "storing" if sent.totals else "sending"
        progress.update(task, completed=sent.bytes_read, description=f"{waiting} {sent.lines:,} lines")

    delivery = Delivery(
        url=shipment.url, key=shipment.key, retry_for_s=shipment.retry_for_s, stop=stop, on_outage=outage,
        connections=shipment.concurrency,
    )  # fmt: skip
    with contextlib.closing(delivery), progress:
        send_stream(
            delivery, files, sent=sent, concurrency=shipment.concurrency, stop=stop, wait=shipment.wait, tick=tick,
            patience_s=max(shipment.retry_for_s, LEAST_PATIENCE_S),
        )  # fmt: skip
