"""What the documentation says of settings is what there is."""

from pathlib import Path

from ingestion_assets.settings_table import settings_table

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert settings_table() in (DOCS / "operations.md").read_text(encoding="utf-8")


def test_every_page_that_is_linked_exists() -> None:
    readme = DOCS.parent / "README.md"
    linked = [part.split(")")[0] for part in readme.read_text(encoding="utf-8").split("](docs/")[1:]]
    assert linked
    assert [page for page in linked if not (DOCS / page).exists()] == []
