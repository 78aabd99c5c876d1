"""Ingestion as software-defined assets: durable drops in, Dagster assets out."""
