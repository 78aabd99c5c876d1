"""The definitions that tests use: TPC-H as it ships, and a workshop that has everything TPC-H has not."""

from pathlib import Path

from ingestion_assets.entities.definition_files import SHIPPED, read_entities

WORKSHOP_FOLDER = Path(__file__).parent / "workshop"
TPCH = read_entities([SHIPPED])
WORKSHOP = read_entities([WORKSHOP_FOLDER])
