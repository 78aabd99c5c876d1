"""Background work of flows that waits for their tables: a front door may be up before they are there."""

import asyncio

import sqlalchemy as sa

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import Work
from ingestion_assets.frontdoor.problems import Problem

LOOK_S = 5.0
_THERE = sa.text("SELECT to_regclass(:table)::text")


def once_there(table: str, work: Work) -> Work:
    """The same work, begun as soon as this table is there."""

    async def waiting(door: FrontDoor) -> None:
        while not await _is_there(door, table):  # noqa: ASYNC110 - PostgreSQL is what is waited for
            await asyncio.sleep(LOOK_S)
        await work(door)

    return waiting


async def _is_there(door: FrontDoor, table: str) -> bool:
    try:
        return (
            await door.in_thread(lambda connection: connection.scalar(_THERE, {"table": table})) is not None
        )
    except Problem:
        return False
