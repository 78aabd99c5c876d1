"""What the documentation says of settings, commands and itself is what there is."""

import re
from pathlib import Path

import pytest

from ingestion_assets.settings_table import no_settings, settings_table
from ingestion_assets_tests.conftest import PROJECT
from ingestion_assets_tests.test_commands import COMMANDS

DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(PROJECT.glob("examples/*/README.md"))]
WITH_COMMANDS = [
    *PAGES,
    PROJECT / "Makefile",
    *sorted((PROJECT / "deploy").rglob("*.y*ml")),
    PROJECT / "deploy" / ".env.example",
]
OF_OTHERS = {"INGESTION_NOTES_LONGEST", "INGESTION_NOTES_", "INGESTION_LONG_TESTS", "INGESTION_IMAGE"}
"""Of the flow that `adding-a-flow.md` makes, of the tests, and of Compose."""
SETTING, LINK = re.compile(r"INGESTION_[A-Z_]+"), re.compile(r"\]\(([^)\s]+)\)")
TYPED = re.compile(
    r"(?:^|[\s`(|/])(?<!namespace )(?<!-n )ingestion ((?:[a-z][a-z-]*(?: |$|(?=[`)])))+)([^`\n|;)#&]*)",
    re.MULTILINE,
)
GROUPS = {name.rpartition(" ")[0] for name in COMMANDS} | {"send", "notes"}


def _named(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert settings_table() in (DOCS / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=_named)
def test_every_command_is_there_with_its_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for words, rest in TYPED.findall(text):
        given = words.split()
        name = next((n for n in (" ".join(given[:most]) for most in (3, 2, 1)) if n in COMMANDS), None)
        if name is None:
            assert words.strip() in GROUPS, f"ingestion {words}"
            continue
        known = {option for one in COMMANDS[name].params for option in (*one.opts, *one.secondary_opts)} | {
            "--help"
        }
        asked = {
            word.partition("=")[0].rstrip('.,:"')
            for word in rest.partition("$(")[0].split()
            if re.match(r"--?[a-z]", word)
        }
        assert asked <= known, f"ingestion {name}"


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=_named)
def test_every_setting_is_one(page: Path) -> None:
    named = set(SETTING.findall(page.read_text(encoding="utf-8")))
    assert no_settings(named - OF_OTHERS) == []


def test_pages_are_looked_through() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert min(len(TYPED.findall(text)), len(SETTING.findall(text)), len(LINK.findall(text))) > 5


def _anchors(page: Path) -> set[str]:
    without_code = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_the_front_page_leads_to_every_page() -> None:
    front = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS.glob("*.md") if f"(docs/{page.name})" not in front] == []
