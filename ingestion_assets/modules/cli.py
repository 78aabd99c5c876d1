"""`ingestion sites`: create, list and show Drupal sites, and give them new keys."""

import asyncio
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.modules.inventory import core_of, modules_of
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.sites import Site, create_site, get_site, list_sites, rotate_key
from ingestion_assets.modules.webhook_addresses import ForbiddenAddressError, allowed_by, check_address
from ingestion_assets.settings import load_flow_settings, load_settings
from ingestion_assets.stores.postgres import engine
from ingestion_assets.stores.sealing import sealer

app = typer.Typer(no_args_is_help=True, help="Create, list and show Drupal sites, and give them new keys.")

SiteNumber = Annotated[int, typer.Argument(metavar="SITE", min=1, help="The site's number.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the site is called.")],
    url: Annotated[str | None, typer.Option(help="Its address.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Address to call when a sync is done.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the number and the key only.")] = False,
) -> None:
    """Create a site and print its API key, which is shown this once."""
    if webhook is not None:
        try:
            asyncio.run(check_address(webhook, allowed_by(load_flow_settings(ModulesSettings))))
        except ForbiddenAddressError as error:
            raise typer.BadParameter(str(error), param_hint="--webhook") from error
    with engine().begin() as connection:
        made = create_site(
            connection, sealer=partial(sealer, load_settings()), name=name, url=url, webhook_url=webhook
        )
    if quiet:
        typer.echo(f"{made.site.id} {made.api_key}")
        return
    typer.echo(f"Site {made.site.id}: {made.site.name}\nAPI key: {made.api_key}")
    if made.webhook_secret:
        typer.echo(f"Webhook secret: {made.webhook_secret}")
    typer.echo("This is the only time these are shown.")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List sites."""
    sites: list[Site] = []
    with engine().connect() as connection:
        while found := list_sites(connection, after=sites[-1].id if sites else 0, limit=500):
            sites += found
    if as_json:
        print_json(map(asdict, sites))
        return
    print_table(
        ("site", "name", "partition", "state", "Drupal", "newest snapshot", "address"),
        (
            (
                site.id,
                site.name,
                site.partition,
                "active" if site.active else "switched off",
                site.drupal_version or "-",
                f"{site.snapshot_at:%Y-%m-%d %H:%M}" if site.snapshot_at else "-",
                site.url or "-",
            )
            for site in sites
        ),
    )


@app.command()
def show(
    site: SiteNumber,
    everything: Annotated[
        bool, typer.Option("--all", help="Every module, not only those that need attention.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a site: its modules that need attention, or all of them."""
    with engine().connect() as connection:
        known = get_site(connection, site)
        if known is None:
            raise _missing(site)
        modules = modules_of(connection, site, removed=everything)
        core = core_of(connection, site)
    if as_json:
        print_json([{**asdict(known), "core": core, "modules": modules}])
        return
    taken = f"{known.snapshot_at:%Y-%m-%d %H:%M} UTC" if known.snapshot_at else "never"
    typer.echo(
        f"Site {known.id}: {known.name}, Drupal {known.drupal_version or 'unknown'}, newest snapshot {taken}"
    )
    typer.echo(f"Drupal itself: {_word(core)}")
    rows: list[tuple[str, ...]] = []
    for one in modules:
        security = one["security"]
        if everything or _needs_attention(security):
            word = "removed" if security is None else _word(security)
            updates = "" if security is None else ", ".join(security["security_updates"])
            rows.append(
                (one["machine_name"], one["version"], "yes" if one["status"] else "no", word, updates)
            )
    if rows:
        print_table(("module", "version", "enabled", "security", "updates"), rows)
    typer.echo(f"{len(modules)} modules, {len(rows)} shown.")


@app.command("rotate-key")
def rotate(
    site: SiteNumber,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key only.")] = False,
) -> None:
    """Give a site a new API key; the old one is turned away within seconds."""
    with engine().begin() as connection:
        key = rotate_key(connection, site)
    if key is None:
        raise _missing(site)
    typer.echo(key if quiet else f"API key: {key}\nThis is the only time it is shown.")


def _word(security: dict[str, Any]) -> str:
    old = f", kept from {security['feed_answered_at']:%Y-%m-%d %H:%M} UTC" if security["stale"] else ""
    return security["status"].replace("_", " ") + old


def _needs_attention(security: dict[str, Any] | None) -> bool:
    calm = {"up_to_date", "update_available", "unknown"}
    return security is not None and (
        security["status"] not in calm or bool(security["needs_security_update"]) or security["stale"]
    )


def _missing(site: int) -> typer.Exit:
    typer.echo(f"There is no site {site}; `ingestion sites list` shows them.", err=True)
    return typer.Exit(1)
