"""The partitions that flows share: the UTC day of arrival."""

import dagster as dg

from ingestion_assets.settings import load_settings

DAYS = dg.DailyPartitionsDefinition(
    start_date=load_settings().first_day.isoformat(), timezone="UTC", end_offset=1
)
"""Days of arrival. `end_offset=1`: today's partition exists while payloads still arrive in it.

The first day is a setting. A start that moved, with the first payload or with what was deleted, would take days with their
history out of Dagster, and would have to be asked of a database to load the code. A stream may also name an earlier day
than that on which anything arrived.
"""
