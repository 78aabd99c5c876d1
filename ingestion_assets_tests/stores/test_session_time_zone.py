"""Times are read in UTC, whatever zone a database has: people and commands are shown them as they are read."""

import asyncio
from datetime import timedelta

import sqlalchemy as sa

from ingestion_assets.stores import postgres

NOW = sa.text("SELECT current_setting('timezone') AS zone, now() AS at")


def test_sessions_are_in_utc(fresh_postgres_url: str) -> None:
    name = sa.make_url(fresh_postgres_url).database
    with postgres.engine(fresh_postgres_url).begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"))
    postgres.engine(fresh_postgres_url).dispose()
    with postgres.engine(fresh_postgres_url).connect() as connection:
        rows = [connection.execute(NOW).one()]

    async def read() -> None:
        engine = postgres.async_engine(fresh_postgres_url)
        async with engine.connect() as connection:
            rows.append((await connection.execute(NOW)).one())
        await engine.dispose()

    asyncio.run(read())
    assert [(row.zone, row.at.utcoffset()) for row in rows] == [("UTC", timedelta(0))] * 2
