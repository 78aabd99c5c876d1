"""`ingestion zones`: which drop zones there are, whether those of a project can be, and sending files to one.

Exit statuses: 0 done; 1 refused, or a zone cannot be; 2 the front door or the database cannot be asked. Those of `send` are in docs/sending.md.
"""

import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from ingestion_assets.command_output import AsJson, print_items, print_json
from ingestion_assets.sending.endings import GaveUpError, RejectedError, UsageError
from ingestion_assets.sending.front_door_client import REFUSED, ask
from ingestion_assets.sending.options import FIVE_MINUTES, Key, Quiet, RetryFor, Url
from ingestion_assets.sending.options import AsJson as OutcomeAsJson

app = typer.Typer(no_args_is_help=True, help="List and check drop zones, send files to one.")
LINES_AT_ONCE, BYTES_AT_ONCE = 5_000, 4 * 2**20
Name = Annotated[str, typer.Argument(metavar="ZONE", help="Its name.")]


@app.command("list")
def list_all(as_json: AsJson = False, url: Url = None) -> None:
    """List the zones in force, and what waits in them; says why others are not in force."""
    found = ask(url, "GET", "/zones")
    items = found["items"]
    rows = (
        (
            one["name"], one["location"], ", ".join(one["key"]) or "-", one["verify"] or "API key", one["partitions"],
            _number(one["waiting"]), _number(one["open_rejects"]), one["refused"] or "-",
        )
        for one in items
    )  # fmt: skip
    print_items(
        items, ("zone", "location", "key", "sender", "partitions", "waiting", "rejects", "refused"), rows, as_json=as_json
    )  # fmt: skip
    for why in found["not_in_force"].values():
        typer.echo(why, err=True)


@app.command()
def show(zone: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Show a zone: the schema of its records, its last hour, deliveries that could not be verified."""
    found = ask(url, "GET", f"/zones/{zone}")
    if as_json:
        print_json([found])
        return
    typer.echo(f"{found['name']}: POST {found['url']}, in the code location {found['location']}")
    if found["refused"]:
        typer.echo(found["refused"])
    typer.echo(
        f"Last hour: {found['payloads']} payloads, {found['records']} records, {found['failed']} failed; "
        f"{_number(found['waiting'])} wait, {_number(found['open_rejects'])} rejects are open."
    )
    for name, schema in found["record"].get("properties", {}).items():
        needed = "needed" if name in found["record"].get("required", ()) else "may be left out"
        typer.echo(f"  {name}: {schema.get('type') or schema.get('format') or 'see --json'}, {needed}")
    for one in found["unverified"]:
        typer.echo(
            f"{one['hour']}: {one['deliveries']} deliveries not verified, {one['code']}, from {one['remote_address'] or '?'}"
        )


@app.command()
def check(
    as_json: AsJson = False,
    module: Annotated[
        str | None,
        typer.Argument(help="The module with the definitions. Default: that of the project in this folder (pyproject.toml)."),
    ] = None,
) -> None:  # fmt: skip
    """Load a project's definitions as Dagster does, and say of each zone whether it could be in force; no database is asked."""
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.zones.document import ZoneError  # noqa: PLC0415
    from ingestion_assets.zones.project import zones_of  # noqa: PLC0415

    load_settings()  # a wrong one is said, whatever the definitions read
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = zones_of(module)
    except ZoneError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(REFUSED) from error
    if as_json:
        print_json({"zone": name, "fault": fault} for name, fault in found.items())
    else:
        for name, fault in found.items():
            typer.echo(f"{name}: {fault or 'can be in force'}")
    typer.echo(
        "No database was asked: whether tables can follow, and whether other projects have a name, `ingestion zones list` says."
        if found
        else "The project has no drop zone.",
        err=True,
    )
    raise typer.Exit(REFUSED if any(found.values()) else 0)


@app.command()
def remove(
    zone: Name,
    force: Annotated[bool, typer.Option("--force", help="Although payloads of it wait, which nobody would take.")] = False,
) -> None:  # fmt: skip
    """Take a zone out of force. Its table, payloads and receipts stay; while its code location has it, it comes back."""
    from ingestion_assets.landing.flow_figures import waiting  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415
    from ingestion_assets.zones import in_force  # noqa: PLC0415

    with engine().begin() as connection:
        if (number := waiting(connection, zone)) and not force:
            typer.echo(
                f"{number} payloads of {zone} wait; let them be taken first, or say --force.", err=True
            )
            raise typer.Exit(REFUSED)
        gone = in_force.remove(connection, zone)
    if not gone:
        typer.echo(f"There is no zone {zone}; `ingestion zones list` shows them.", err=True)
        raise typer.Exit(REFUSED)
    typer.echo(f"{zone} is not in force any more.")


@app.command()
def send(
    zone: Name,
    files: Annotated[list[Path], typer.Argument(help="Files of records: .json, .jsonl, .ndjson or .csv.")],
    url: Url = None,
    key: Key = None,
    retry_for: RetryFor = FIVE_MINUTES,
    as_json: OutcomeAsJson = False,
    quiet: Quiet = False,
) -> None:
    """Send files to a zone and say what became of their records. Sent again, a file gives its first receipts."""
    from ingestion_assets.sending.delivery import REFUSED_STATUS  # noqa: PLC0415
    from ingestion_assets.sending.display import Figures  # noqa: PLC0415
    from ingestion_assets.sending.files import OpenFile  # noqa: PLC0415
    from ingestion_assets.sending.run import Run  # noqa: PLC0415
    from ingestion_assets.zones.zone_flow import LINES, media_type_of_file  # noqa: PLC0415

    run = Run(url=url, key=key, retry_for_s=retry_for, quiet=quiet)
    totals = dict.fromkeys(("received", "stored", "duplicate", "superseded", "rejected"), 0)
    receipts: list[str] = []
    done, total = 0, sum(path.stat().st_size for path in files if path.is_file())

    def figures() -> Figures:
        return Figures(done=done, total=total, words=f"{totals['received']:,} records")

    with run.ending(), run.delivery(figures, connections=1) as (delivery, display):
        for path in files:
            media_type = media_type_of_file(path.name.removesuffix(".gz"))
            if media_type is None:
                raise UsageError(
                    f"{path} must end in .json, .jsonl, .ndjson or .csv, which says how its records are written"
                )
            with OpenFile(path) as file:
                payloads = slices(file.lines_from(0)) if media_type == LINES else [file.read_all()]
                for number, payload in enumerate(payloads):
                    # The same slice may stand in a file twice, and is two payloads then.
                    once = f"send-{number}-{sha256(payload).hexdigest()}"
                    answer = delivery.submit(
                        f"/api/v1/drops/{zone}", refusals=REFUSED_STATUS, content=payload,
                        headers={"Content-Type": media_type, "Idempotency-Key": once},
                    )  # fmt: skip
                    if not answer.succeeded:
                        raise RejectedError(f"{path} is refused: {answer.detail}")
                    done += len(payload)
                    display.refresh()
                    if answer.receipt in receipts:  # an equal file
                        continue
                    receipts.append(answer.receipt)
                    result = answer.body
                    if "received" not in result:
                        result = _outcome(delivery, answer.receipt, run.patience_s)
                    for name in totals:
                        totals[name] += int(result[name])
                if file.damage:
                    raise UsageError(f"{path}: {file.damage}; what stood before was sent")
    if not run.status and totals["rejected"]:
        run.status = REFUSED
    said = ", ".join(f"{number} {name}" for name, number in totals.items())
    run.exit(
        lambda: typer.echo(f"{said}; {len(receipts)} receipts"), as_json={**totals, "receipts": receipts} if as_json else None, resumes=False
    )  # fmt: skip


def slices(lines: Any) -> Any:
    """Lines in payloads of at most `LINES_AT_ONCE` lines and about `BYTES_AT_ONCE` bytes."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and (len(part) == LINES_AT_ONCE or size + len(line) > BYTES_AT_ONCE):
            yield b"".join(part)
            part, size = [], 0
        if line.strip():
            part.append(line)
            size += len(line)
    if part:
        yield b"".join(part)


def _outcome(delivery: Any, receipt: str, patience_s: float) -> dict[str, Any]:
    """Its counts. Raises `RejectedError` where it failed, `GaveUpError` where nothing was known of it within so long."""
    until = time.monotonic() + patience_s
    while not (known := delivery.receipt(receipt, wait_s=10)).finished and time.monotonic() < until:
        pass
    if known.state == "done":
        return known.result
    if known.state == "failed":
        raise RejectedError(f"the payload with the receipt {receipt} was kept and failed: {known.errors}")
    raise GaveUpError(f"the outcome of receipt {receipt} is not known yet; it is {known.state}")


def _number(value: Any) -> str:
    return "?" if value is None else str(value)
