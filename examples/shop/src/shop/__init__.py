"""A shop's own Dagster project, with two drop zones of its own."""
