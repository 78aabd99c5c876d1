"""`ingestion listen`: payloads as they arrive, and what becomes of them, until Ctrl-C."""

import time
from typing import Annotated, Any

import httpx
import typer

from ingestion_assets.command_output import AsJson, print_json
from ingestion_assets.sending.front_door_client import (
    NoAnswerError,
    RefusedError,
    answer_of,
    opened,
    or_end,
)
from ingestion_assets.sending.options import Url
from ingestion_assets.zones.arriving import FOLLOWED, PAGE, PAGES, Arriving

app = typer.Typer()
LOOK_S = 0.5


@app.command()
def listen(
    zone: Annotated[str | None, typer.Argument(help="Only of this zone, or flow; all if not given.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", min=0, metavar="SECONDS", help="End after so many seconds.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Show payloads as they arrive and end: receipt, sender, records, outcome. What came before is not shown."""
    until = None if for_s is None else time.monotonic() + for_s
    try:
        with opened(url) as client:
            with or_end():
                arriving = _from_now(client, zone)
            typer.echo(f"Listening{f' to {zone}' if zone else ''}; Ctrl-C ends it.", err=True)
            with or_end():
                _follow(arriving, until, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _from_now(client: httpx.Client, zone: str | None) -> Arriving:
    if zone is not None:
        names = [one["name"] for one in answer_of(client, "GET", "/overview")["flows"]]
        if zone not in names:
            raise RefusedError(f"There is no zone or flow {zone}; there are {', '.join(names)}.")
    return Arriving(lambda path, parameters: answer_of(client, "GET", path, parameters), zone)


def _follow(arriving: Arriving, until: float | None, *, as_json: bool) -> None:
    said: set[str] = set()
    away = False
    while until is None or time.monotonic() < until:
        began = time.monotonic()
        try:
            for one in arriving.look():
                print_json([one]) if as_json else typer.echo(_line(one))
            if away:
                typer.echo("The front door answers again.", err=True)
            away = False
        except NoAnswerError as error:
            if not away:
                typer.echo(f"{error} It is asked until it answers.", err=True)
            away = True
        for sentence in _left_out(arriving):
            if sentence not in said:
                said.add(sentence)
                typer.echo(sentence, err=True)
        time.sleep(
            max(LOOK_S, 2 * (time.monotonic() - began))
        )  # so that looking is a small part of what a door does


def _left_out(arriving: Arriving) -> list[str]:
    sentences: list[str] = []
    if arriving.passed_over:
        sentences.append(
            f"More than {PAGE * PAGES:,} payloads came at once: the first of them are not shown."
        )
    if arriving.given_up:
        sentences.append(
            f"More than {FOLLOWED:,} payloads are open: what becomes of the oldest is not shown."
        )
    return sentences


def _line(receipt: dict[str, Any]) -> str:
    result = receipt.get("result") or {}
    counts = ", ".join(
        f"{result[name]} {name}"
        for name in ("stored", "duplicate", "superseded", "rejected")
        if result.get(name)
    )
    said = f"{receipt['received_at']}  {receipt['id']}  {receipt['flow']}  {receipt['records']} records  {receipt['state']}"
    return f"{said}  {counts}".rstrip()
