"""The partitions that flows share: the UTC day of arrival."""

import dagster as dg

FIRST_DAY = "2026-01-01"

DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""Days of arrival. `end_offset=1`: today's partition exists while payloads still arrive in it."""
