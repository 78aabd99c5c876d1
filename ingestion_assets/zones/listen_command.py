"""`ingestion listen`: payloads as they arrive, and what becomes of them, until Ctrl-C."""

import time
from typing import Annotated, Any

import typer

from ingestion_assets.command_output import AsJson, print_json
from ingestion_assets.sending.front_door_client import ask
from ingestion_assets.sending.options import Url

app = typer.Typer()
LOOK_S = 0.5
_ENDED = {"done", "failed"}


@app.command()
def listen(
    zone: Annotated[str | None, typer.Argument(help="Only of this zone, or flow; all if not given.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", min=0, metavar="SECONDS", help="End after so many seconds.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Show payloads as they arrive and end: receipt, sender, records, outcome. What came before is not shown."""
    until = None if for_s is None else time.monotonic() + for_s
    parameters = {"limit": 200} | ({"flow": zone} if zone else {})
    told = {one["id"]: one["state"] for one in ask(url, "GET", "/receipts", parameters)["items"]}
    typer.echo(f"Listening{f' to {zone}' if zone else ''}; Ctrl-C ends it.", err=True)
    try:
        while until is None or time.monotonic() < until:
            for one in reversed(ask(url, "GET", "/receipts", parameters)["items"]):
                before = told.get(one["id"])
                if before != one["state"] and (before is None or one["state"] in _ENDED):
                    print_json([one]) if as_json else typer.echo(_line(one))
                told[one["id"]] = one["state"]
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _line(receipt: dict[str, Any]) -> str:
    result = receipt.get("result") or {}
    counts = ", ".join(
        f"{result[name]} {name}"
        for name in ("stored", "duplicate", "superseded", "rejected")
        if result.get(name)
    )
    said = f"{receipt['received_at']}  {receipt['id']}  {receipt['flow']}  {receipt['records']} records  {receipt['state']}"
    return f"{said}  {counts}".rstrip()
