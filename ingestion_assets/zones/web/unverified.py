"""Deliveries that could not be verified: counted by the hour, for the audit."""

import threading
from typing import Any

import sqlalchemy as sa

_NOTE = sa.text("""
    INSERT INTO ingestion.zone_refusals (zone, hour, code, deliveries, last_at, remote_address, delivery_id, body_sha256)
    VALUES (:zone, date_trunc('hour', clock_timestamp()), :code, :deliveries, clock_timestamp(), :remote_address, :delivery_id, :body_sha256)
    ON CONFLICT (zone, hour, code) DO UPDATE SET deliveries = zone_refusals.deliveries + excluded.deliveries,
        last_at = excluded.last_at, remote_address = excluded.remote_address, delivery_id = excluded.delivery_id,
        body_sha256 = excluded.body_sha256
""")
_FORGET = sa.text("DELETE FROM ingestion.zone_refusals WHERE hour < clock_timestamp() - interval '90 days'")


class Refusals:
    """Deliveries that were turned away and are not written down yet, by zone and code: how many, and facts of the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, zone: str, code: str, **facts: str | None) -> None:
        with self._lock:
            known = self._found.get((zone, code), {"deliveries": 0})
            self._found[zone, code] = {"deliveries": known["deliveries"] + 1, **facts}

    def write(self, engine: sa.Engine) -> None:
        """In a transaction of its own. What could not be written is kept for the next time; raises what SQLAlchemy raises."""
        with self._lock:
            found, self._found = self._found, {}
        if not found:
            return
        try:
            with engine.begin() as connection:
                for (zone, code), facts in found.items():
                    connection.execute(_NOTE, {"zone": zone, "code": code, **facts})
                connection.execute(_FORGET)
        except Exception:
            with self._lock:
                for place, facts in found.items():
                    more = self._found.get(place, {"deliveries": 0})["deliveries"]
                    self._found[place] = {**facts, "deliveries": facts["deliveries"] + more}
            raise
