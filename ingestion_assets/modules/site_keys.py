"""What a site's partition is called in Dagster: its number, and the name that it had when it was made (`17-town-hall`).

The key never changes, whatever becomes of the name, since what Dagster knows of a partition it knows of its key. Everywhere else a
site is its number, which the key begins with.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from ingestion_assets.modules.module_tables import sites

LONGEST = 60
KEY = sa.cast(sites.c.id, sa.Text) + sa.func.coalesce("-" + sites.c.slug, "")
"""SQL: a site's key."""


def slug_of(name: str) -> str | None:
    """The name's letters and digits, in lower case, with dashes for what stands between them; None where there are none."""
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", name).casefold())
    return words.strip("-")[:LONGEST].rstrip("-") or None


def keys_of(connection: sa.Connection, numbers: Collection[str]) -> Mapping[str, str]:
    """The keys of sites by their numbers; what is no site's is left out."""
    ids = [int(one) for one in numbers if re.fullmatch("[0-9]{1,18}", one)]
    known = sa.select(sites.c.id, KEY.label("key")).where(sites.c.id.in_(ids))
    return {str(row.id): row.key for row in connection.execute(known)}
