"""What a flow may ask of the spine's table of payloads, which it neither reads nor writes by itself.

Receipts are the matter of `ledger`, the payloads of a run that of `claims`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.drops import AcceptedFacts
from ingestion_assets.landing.tables import drops

_OPEN = sa.or_(
    drops.c.state.in_(("landed", "claimed")), sa.and_(drops.c.state == "held", drops.c.wanted == "pause")
)
_ENDED = ("done", "failed")


def partitions_of(connection: sa.Connection, ids: Collection[UUID]) -> Sequence[str]:
    """The partitions that these payloads lie in, in order."""
    found = sa.select(drops.c.partition).where(_among(ids)).distinct().order_by(drops.c.partition)
    return connection.scalars(found).all()


def done_among(connection: sa.Connection, ids: Collection[UUID]) -> Sequence[UUID]:
    """Those of these payloads whose receipts say what became of them."""
    return connection.scalars(sa.select(drops.c.id).where(_among(ids), drops.c.state == "done")).all()


def count_open_before(
    connection: sa.Connection, drop: AcceptedFacts, *, attribute: str, apart_from: Collection[UUID]
) -> int:
    """How many payloads that the sender of this one sent before it, with the same value of an attribute, no run has ended yet.

    Of its partition; those that were sent again later do not count.
    """
    query = sa.select(sa.func.count()).where(
        drops.c.flow == drop.flow,
        drops.c.partition == drop.partition,
        _OPEN,
        drops.c.principal == drop.principal,
        drops.c.id < drop.id,
        ~_among(apart_from),
        drops.c.attributes[attribute].astext == drop.attributes[attribute],
        ~drops.c.attributes.has_key("redrive_of"),
    )
    return connection.execute(query).scalar_one()


def known_keys(connection: sa.Connection, *, flow: str, principal: str, keys: Iterable[str]) -> Sequence[str]:
    """Those of these idempotency keys that a sender has used."""
    used = sa.literal(list(keys), sa.ARRAY(sa.Text))
    query = sa.select(drops.c.idempotency_key).where(
        drops.c.principal == principal, drops.c.flow == flow, drops.c.idempotency_key == sa.any_(used)
    )
    return connection.scalars(query).all()


def by_key(connection: sa.Connection, *, flow: str, principal: str, key: str) -> sa.Row[Any, Any, Any]:
    """Partition, size and attributes of the payload that a sender sent with this idempotency key. Raises `NoResultFound`."""
    query = sa.select(drops.c.partition, drops.c.size_bytes, drops.c.attributes).where(
        drops.c.principal == principal, drops.c.flow == flow, drops.c.idempotency_key == key
    )
    return connection.execute(query).one()


def sums_of_results(
    connection: sa.Connection,
    *,
    flow: str,
    principal: str,
    key_prefix: str,
    number: int,
    figures: Sequence[str],
) -> tuple[int, dict[str, int]]:
    """Of the payloads whose keys end with 0, 1, 2… up to `number`: how many no run has ended yet, and the sums of some figures of
    the others' results."""
    numbers = sa.func.generate_series(0, number - 1).table_valued("number").render_derived()
    key = sa.literal(key_prefix).concat(sa.cast(numbers.c.number, sa.Text))
    query = (
        sa.select(
            sa.func.count().filter(drops.c.state.not_in(_ENDED)),
            *(
                sa.func.coalesce(sa.func.sum(sa.cast(drops.c.result[figure].astext, sa.BigInteger)), 0)
                for figure in figures
            ),
        )
        .select_from(numbers)
        .join(
            drops,
            sa.and_(drops.c.principal == principal, drops.c.flow == flow, drops.c.idempotency_key == key),
        )
    )
    unfinished, *sums = connection.execute(query).one()
    return unfinished, {figure: int(found) for figure, found in zip(figures, sums, strict=True)}


def _among(ids: Collection[UUID]) -> sa.ColumnElement[bool]:
    return drops.c.id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.UUID)))
