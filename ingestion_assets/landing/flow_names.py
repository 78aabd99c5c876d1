"""The flow that a command is asked about: one that the ledger has nothing of is told of, as an empty list of it says nothing."""

import sqlalchemy as sa
import typer

from ingestion_assets.stores.postgres import engine

# From name to name by the index, however many payloads a flow has.
_FLOWS = sa.text("""
    WITH RECURSIVE named AS (
        SELECT min(flow) AS flow FROM ingestion.drops
        UNION ALL SELECT (SELECT min(flow) FROM ingestion.drops WHERE drops.flow > named.flow) FROM named WHERE flow IS NOT NULL
    )
    SELECT flow FROM named WHERE flow IS NOT NULL
""")


def told(flow: str | None) -> str | None:
    """The flow that is given; on standard error, where the ledger has nothing of it, what it has something of."""
    if flow is not None:
        with engine().connect() as connection:
            known = connection.scalars(_FLOWS).all()
        if flow not in known:
            others = f", but of {', '.join(known)}" if known else ""
            typer.echo(f"There is nothing of a flow {flow}{others}.", err=True)
    return flow
