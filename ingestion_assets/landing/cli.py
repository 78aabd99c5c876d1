"""`ingestion receipts`, `drops` and `rejects`: what became of payloads, what waits, sending rejects again."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NoReturn
from uuid import UUID

import msgspec
import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.landing import ledger, pauses, tables
from ingestion_assets.landing import rejects as kept
from ingestion_assets.landing.drops import State
from ingestion_assets.landing.flow_names import told
from ingestion_assets.landing.id_prefixes import NoSuchIdError, whole_id
from ingestion_assets.landing.redrive_client import Sent, redrive_each, redrive_matching
from ingestion_assets.settings import load_settings
from ingestion_assets.stores.postgres import async_engine, engine

app = typer.Typer()
receipts = typer.Typer(no_args_is_help=True, help="Look up what became of accepted payloads.")
rejects = typer.Typer(
    no_args_is_help=True, help="List, show, redrive and discard records that were rejected."
)
drops = typer.Typer(
    no_args_is_help=True, help="See which accepted payloads wait, and have them taken at once."
)
app.add_typer(receipts, name="receipts")
app.add_typer(drops, name="drops")
app.add_typer(rejects, name="rejects")

Flow = Annotated[str | None, typer.Option(help="Only of this flow.", callback=told)]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most items shown.")]
OfReceipt = Annotated[
    str | None, typer.Option("--receipt", help="Only of this payload; its id, or how that alone begins.")
]
Kind = Annotated[Literal["invalid", "conflict", "payload"] | None, typer.Option(help="Only of this kind.")]
Hours = Annotated[
    float | None, typer.Option("--hours", min=0, max=876_000, help="Only those of the last hours.")
]
RejectIds = Annotated[
    list[str] | None, typer.Argument(help="The rejects, by id or how that alone begins; or use the filters.")
]
Everything = Annotated[bool, typer.Option("--all", help="All that were not sent again before.")]


@receipts.command("list")
def list_receipts(
    flow: Flow = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List receipts, newest first."""

    async def read() -> list[Any]:
        opened = async_engine()
        try:
            return (await ledger.list_receipts(opened, flow=flow, state=state, limit=limit)).items
        finally:
            await opened.dispose()

    found = asyncio.run(read())
    if as_json:
        print_json(found)
        return
    print_table(
        ("id", "flow", "state", "records", "received (UTC)", "run"),
        (
            (
                one.id,
                one.flow,
                one.state,
                one.records,
                f"{one.received_at:%Y-%m-%d %H:%M:%S}",
                one.run_id or "-",
            )
            for one in found
        ),
    )


@receipts.command("show")
def show_receipt(
    receipt_id: Annotated[str, typer.Argument(help="The receipt's id, or how that alone begins.")],
    records: Annotated[bool, typer.Option("--records", help="Also the outcome of every record.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one receipt, as JSON that is easy to read; with `--json` in one line."""
    known = _receipt_id(receipt_id)

    async def read() -> tuple[Any, Any]:
        opened = async_engine()
        try:
            return (
                await ledger.receipt(opened, known),
                await ledger.record_outcomes(opened, known, limit=1_000_000) if records else None,
            )
        finally:
            await opened.dispose()

    receipt, outcomes = asyncio.run(read())
    if receipt is None:  # deleted in this moment
        _missing(f"There is no receipt {known}.")
    shown = msgspec.to_builtins(receipt)
    shown["run_url"] = f"{load_settings().runs_url}/{receipt.run_id}" if receipt.run_id else None
    if records:
        shown["record_outcomes"] = outcomes
    _show(shown, as_json=as_json)


@drops.command("waiting")
def list_waiting(flow: Flow = None, as_json: AsJson = False) -> None:
    """List lanes whose payloads no run takes before a time, after a cancelled run or while a store is away."""
    with engine().connect() as connection:
        found = pauses.waiting(connection, flow=flow)
    if as_json:
        print_json(found)
        return
    print_table(
        ("flow", "lane", "payloads", "until (UTC)", "why"),
        ((one.flow, one.lane, one.payloads, f"{one.until:%H:%M:%S}", one.reason or "") for one in found),
    )


@drops.command("resume")
def resume(
    receipt: Annotated[
        str | None, typer.Argument(help="Only this payload; its id, or how that alone begins.")
    ] = None,
    flow: Flow = None,
    lane: Annotated[str | None, typer.Option(help="Only of this lane.")] = None,
) -> None:
    """Have runs take at once what waits."""
    one = _receipt_id(receipt) if receipt else None
    with engine().begin() as connection:
        count = pauses.resume(connection, flow=flow, lane=lane, receipt=one)
    typer.echo(f"{count} payloads can be taken now.")


@rejects.command("list")
def list_rejects(
    flow: Flow = None,
    receipt: OfReceipt = None,
    kind: Kind = None,
    hours: Hours = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List rejects, oldest first."""
    of = _receipt_id(receipt) if receipt else None
    with engine().connect() as connection:
        found = kept.list_rejects(
            connection, flow=flow, receipt=of, kind=kind, since=_since(hours), limit=limit
        ).items
    if as_json:
        print_json(map(_view, found))
        return
    print_table(
        ("id", "flow", "kind", "code", "at (UTC)", "redriven", "reason"),
        (
            (
                one.id,
                one.flow,
                one.kind,
                one.code,
                f"{one.created_at:%m-%d %H:%M}",
                "-" if one.redriven_at is None else f"{one.redriven_at:%m-%d %H:%M}",
                one.reason,
            )
            for one in found
        ),
    )


@rejects.command("show")
def show_reject(
    reject_id: Annotated[str, typer.Argument(help="The reject's id, or how that alone begins.")],
    as_json: AsJson = False,
) -> None:
    """Show one reject, its record included, as JSON that is easy to read; with `--json` in one line."""
    (known,) = _reject_ids([reject_id])
    with engine().connect() as connection:
        found = kept.get_reject(connection, known)
    if found is None:  # deleted in this moment
        _missing(f"There is no reject {known}.")
    _show(_view(found), as_json=as_json)


@rejects.command("redrive")
def redrive(
    reject_ids: RejectIds = None,
    flow: Flow = None,
    receipt: OfReceipt = None,
    kind: Kind = None,
    hours: Hours = None,
    everything: Everything = False,
) -> None:
    """Send rejects on their way again, through the running front door: each once, whatever becomes of it."""
    _require_choice(reject_ids, everything, flow, receipt, kind, hours)
    filters = {
        "flow": flow, "receipt": _receipt_id(receipt) if receipt else None, "kind": kind, "since": _since(hours),
    }  # fmt: skip
    ids = _reject_ids(reject_ids or ())
    given = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in filters.items()
        if value is not None
    }
    sent = Sent()
    try:
        redrive_each(ids, sent) if ids else redrive_matching(given, sent)
    except BaseException:
        if sent.count:  # before the front door went
            typer.echo(f"{sent.count} sent again.")
        raise
    typer.echo(f"{sent.count} sent again.")
    for what, count in sent.left.items():
        typer.echo(f"{count} left, {what}", err=True)
    if sent.left:
        raise typer.Exit(1)


@rejects.command("discard")
def discard(
    reject_ids: RejectIds = None,
    flow: Flow = None,
    receipt: OfReceipt = None,
    kind: Kind = None,
    hours: Hours = None,
    everything: Everything = False,
) -> None:
    """Delete rejects that nobody will send again. Their payloads stay on landing storage until they expire."""
    _require_choice(reject_ids, everything, flow, receipt, kind, hours)
    filters = {
        "flow": flow, "receipt": _receipt_id(receipt) if receipt else None, "kind": kind, "since": _since(hours),
    }  # fmt: skip
    ids = _reject_ids(reject_ids or ())
    count = 0
    with engine().begin() as connection:
        if ids:
            count = kept.discard(connection, ids)
        until = kept.time_of_database(connection)
        while not ids:
            found = kept.list_rejects(connection, **filters, until=until, open_only=True, limit=1000)  # pyright: ignore[reportArgumentType]
            if not found.items:
                break
            count += kept.discard(connection, [one.id for one in found.items])
    typer.echo(f"{count} deleted.")


def _require_choice(*given: object) -> None:
    if not any(given):
        raise typer.BadParameter("name rejects, give a filter, or say --all")


def _show(item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json([item])
    else:
        typer.echo(json.dumps(item, indent=2, ensure_ascii=False))


def _view(reject: kept.StoredReject) -> dict[str, Any]:
    view = {name: getattr(reject, name) for name in kept.StoredReject.__dataclass_fields__}
    view["record"] = reject.record.decode("utf-8", "backslashreplace")
    return msgspec.to_builtins(view)


def _since(hours: float | None) -> datetime | None:
    return None if hours is None else datetime.now(UTC) - timedelta(hours=hours)


def _receipt_id(given: str) -> UUID:
    return _whole(given, tables.drops.c.id, what="receipt", listed_by="ingestion receipts list")


def _reject_ids(given: Sequence[str]) -> list[UUID]:
    return [
        _whole(one, tables.rejects.c.id, what="reject", listed_by="ingestion rejects list") for one in given
    ]


def _whole(given: str, column: Any, *, what: str, listed_by: str) -> UUID:
    try:
        with engine().connect() as connection:
            return whole_id(connection, column, given, what=what, listed_by=listed_by)
    except NoSuchIdError as error:
        _missing(str(error))


def _missing(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
