"""`ingestion repos`: what can be done with repositories over HTTP, from a shell; credentials of private ones, at the database."""

import time
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ingestion_assets.command_output import AsJson, in_utc, print_items, print_json
from ingestion_assets.sending.front_door_client import ask, ask_list
from ingestion_assets.sending.options import Url
from ingestion_assets.settings import load_settings

app = typer.Typer(no_args_is_help=True)
credentials = typer.Typer(no_args_is_help=True, help="Keep what hosts of private repositories ask for.")
app.add_typer(credentials, name="credentials")

DEMO_S = 180.0

Repo = Annotated[
    str, typer.Argument(metavar="REPOSITORY", help="`host/owner/name`, or `host/owner/name@ref`.")
]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Most items shown.")]
ListLimit = Annotated[int, typer.Option("--limit", min=1, help="Most items listed.")]


@app.command()
def submit(
    repository: Annotated[str, typer.Argument(help="Its address, with or without scheme and `.git`.")],
    ref: Annotated[
        str | None,
        typer.Option(help="A branch, a tag, or a commit by its full id; default: the default branch."),
    ] = None,
    url: Url = None,
) -> None:
    """Have a repository indexed."""
    parameters = {} if ref is None else {"ref": ref}
    place = ask(url, "POST", f"/ingestion/ingest/{quote(repository, safe='/:')}", parameters)
    what = "waits already" if place["already_queued"] else "is queued"
    typer.echo(
        f"{place['repository']} {what}: job {place['job_id']}, place {place['queue_position']} of {place['queue_size']}, target "
        f"{place['target']}."
    )


@app.command()
def status(as_json: AsJson = False, url: Url = None) -> None:
    """Show what the workers do."""
    said = ask(url, "GET", "/ingestion/worker/status")
    if as_json:
        print_json([said])
    else:
        typer.echo(said["status"])


@app.command()
def history(limit: Limit = 10, as_json: AsJson = False, url: Url = None) -> None:
    """List what became of jobs, newest first."""
    jobs = ask(url, "GET", "/ingestion/jobs/history", {"limit": limit})["jobs"]
    rows = (
        (
            in_utc(job["timestamp"]), str(job["job_id"]), job["repo_url"], job["status"],
            f"{job.get('duration_seconds', 0):.1f}", str(job.get("files_processed", "")), job.get("error") or job.get("reason") or "",
        )
        for job in jobs
    )  # fmt: skip
    print_items(
        jobs,
        ("ended (UTC)", "job", "repository", "outcome", "seconds", "files", "why"),
        rows,
        as_json=as_json,
    )


@app.command("list")
def list_all(limit: ListLimit = 50, as_json: AsJson = False, url: Url = None) -> None:
    """List repositories that were indexed."""
    found = ask_list(url, "/repositories", {}, limit=limit)
    rows = (
        (
            one["repository"], (one["commit"] or "-")[:12], in_utc(one["indexed_at"]), str(one["embedded"]),
            str(one["skipped"]), "yes" if one["watched"] else "no",
        )
        for one in found
    )  # fmt: skip
    print_items(
        found,
        ("repository", "commit", "indexed (UTC)", "embedded", "skipped", "watched"),
        rows,
        as_json=as_json,
    )


@app.command()
def files(
    repository: Repo,
    state: Annotated[str | None, typer.Option(help="Only `embedded` or `skipped` ones.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those skipped for it, such as `binary`.")] = None,
    limit: ListLimit = 100,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List a repository's files, embedded or skipped and why."""
    chosen = {"state": state, "reason": reason}
    parameters = {name: value for name, value in chosen.items() if value is not None}
    found = ask_list(url, f"/repositories/{quote(repository, safe='/@')}/files", parameters, limit=limit)
    rows = (
        (one["path"], one["state"], one["language"] or "", one["reason"] or "", one["measure"] or "")
        for one in found
    )
    print_items(found, ("path", "state", "language", "reason", "measure"), rows, as_json=as_json)


@app.command()
def similar(
    repository: Repo,
    path: Annotated[str, typer.Argument(help="The file.")],
    everywhere: Annotated[bool, typer.Option("--all", help="In all repositories.")] = False,
    limit: Limit = 10,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List the files that are most like a file, and what they have in common with it."""
    parameters = {"path": path, "within": "all" if everywhere else "repository", "limit": limit}
    found = ask(url, "GET", f"/repositories/{quote(repository, safe='/@')}/similar", parameters)["items"]
    rows = ((f"{hit['score']:.3f}", hit["repository"], hit["path"], _why(hit["why"])) for hit in found)
    print_items(found, ("score", "repository", "path", "in common"), rows, as_json=as_json)


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="In words, or by names.")],
    repository: Annotated[
        str | None, typer.Option("--repository", help="One repository; default: all.")
    ] = None,
    limit: Limit = 10,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Search code."""
    parameters: dict[str, Any] = {"q": question, "limit": limit}
    if repository is not None:
        parameters["repo"] = repository
    answer = ask(url, "GET", "/repositories/search", parameters)
    rows = (
        (
            f"{hit['score']:.4f}",
            hit["repository"],
            f"{hit['path']}:{hit['lines'][0]}",
            ", ".join(hit["why"]["names"]),
        )
        for hit in answer["items"]
    )
    print_items(answer["items"], ("score", "repository", "where", "names"), rows, as_json=as_json)
    if "text" not in answer["by"] and not as_json:
        typer.echo("No worker made a vector of the question, so this goes by names alone.", err=True)


@app.command()
def watch(
    repository: Repo,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    url: Url = None,
) -> None:
    """Ask a repository for its newest commit now and then, and index it when there is one."""
    ask(url, "PATCH", f"/repositories/{quote(repository, safe='/@')}", body={"watched": not off})
    typer.echo(f"{repository} is {'no longer watched' if off else 'watched'}.")


@app.command()
def delete(repository: Repo, url: Url = None) -> None:
    """Delete all that is stored of a repository."""
    ask(url, "DELETE", f"/repositories/{quote(repository, safe='/@')}")
    typer.echo(f"{repository} is deleted.")


@app.command()
def demo(url: Url = None) -> None:
    """Index a small made-up repository in three languages and show what is like one of its files."""
    from ingestion_assets.repositories.sample import ASKED, make_sample  # noqa: PLC0415
    from ingestion_assets.repositories.submissions import own_root  # noqa: PLC0415

    folder = own_root(load_settings()) / "sample"
    if not folder.exists():
        make_sample(folder)
    job = ask(url, "POST", f"/ingestion/ingest/{quote(str(folder), safe='/:')}")
    deadline = time.monotonic() + DEMO_S
    while not (ended := _ended(url, job["job_id"])):
        if time.monotonic() > deadline:
            typer.echo(
                f"It is not indexed after {DEMO_S:.0f} s; `ingestion repos status` may say why.", err=True
            )
            raise typer.Exit(1)
        time.sleep(0.5)
    if ended["status"] != "complete":
        typer.echo(f"It was not indexed: {ended.get('error') or ended.get('reason')}", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"{ended['files_processed']} files in {ended.get('duration_seconds', 0):.1f} s. Those like {ASKED}:"
    )
    similar(job["repository"], ASKED, limit=5, url=url)


def _ended(url: str | None, job: int) -> dict[str, Any] | None:
    jobs = ask(url, "GET", "/ingestion/jobs/history", {"limit": 100})["jobs"]
    return next((one for one in jobs if one["job_id"] == job), None)


Host = Annotated[
    str, typer.Argument(help="The host, alone or as addresses of its repositories have it, with its port.")
]


@credentials.command("set")
def set_credential(
    host: Host,
    credential: Annotated[
        str,
        typer.Option(
            prompt="user:token",
            hide_input=True,
            envvar="GIT_CREDENTIAL",
            help="`user:token`; asked for where it is not given.",
        ),
    ],
) -> None:
    """Keep what a host asks for, sealed; no read gives it back."""
    from ingestion_assets.repositories.credentials import keep_credential  # noqa: PLC0415
    from ingestion_assets.repositories.settings import repositories_settings  # noqa: PLC0415
    from ingestion_assets.repositories.submissions import host_of  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    if ":" not in credential:
        raise typer.BadParameter("it has to be `user:token`")
    settings = repositories_settings()
    try:
        named = host_of(host, settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with engine().begin() as connection:
        keep_credential(connection, named, credential, load_settings())
    typer.echo(f"Repositories of {named} are cloned with it from now on.")


@credentials.command("delete")
def delete_credential(host: Host) -> None:
    """Forget what a host asks for."""
    from ingestion_assets.repositories.credentials import forget_credential  # noqa: PLC0415
    from ingestion_assets.repositories.settings import repositories_settings  # noqa: PLC0415
    from ingestion_assets.repositories.submissions import host_of  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    settings = repositories_settings()
    try:
        named = host_of(host, settings)
    except ValueError:  # no longer configured
        named = host.lower()
    with engine().begin() as connection:
        known = forget_credential(connection, named)
    typer.echo(f"It is forgotten for {host}." if known else f"There was none for {host}.")


def _why(why: Mapping[str, list[str]]) -> str:
    said = [
        ", ".join(why["edges"]),
        f"both use {', '.join(why['both_use'][:3])}" if why["both_use"] else "",
        ", ".join(why["names"][:5]),
    ]
    return "; ".join(filter(None, said))
