"""`ingestion documents`: connections, jobs and search from a shell.

Exit statuses: 0 done; 1 refused, or a job failed or was cancelled, or something is wrong with what is stored; 2 the front door cannot be asked.
"""

import getpass
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ingestion_assets.command_output import AsJson, in_utc, print_items
from ingestion_assets.documents.shown_jobs import control_job, watch_job
from ingestion_assets.sending.front_door_client import REFUSED, ask, ask_list
from ingestion_assets.sending.options import Url

app = typer.Typer(no_args_is_help=True)


User = Annotated[
    str,
    typer.Option("--user", "-u", default_factory=getpass.getuser, help="Whose; default: your login name."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id.")]


@app.command()
def connect(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    user: User,
    path: Annotated[Path | None, typer.Option(help="A folder or a zip archive of the server, below an allowed root.")] = None,
    source_type: Annotated[
        str | None, typer.Option("--type", help="`local_directory`, `local_zip`, `google_drive`, `s3`, …; default: by the path.")
    ] = None,
    config: Annotated[
        typer.FileText | None, typer.Option(help="A file with the configuration as JSON, credentials among it; `-` reads standard input.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Connect a source of files, and test it."""
    if (path is None) == (config is None):
        raise typer.BadParameter("give either --path or --config")
    if path is not None:
        given: Any = {"path": str(path.absolute())}
        source_type = source_type or ("local_zip" if path.suffix == ".zip" else "local_directory")
    else:
        given = _json_of(config)
    if source_type is None:
        raise typer.BadParameter("--config needs --type")
    body = {"user_id": user, "source_type": source_type, "name": name, "config": given}
    made = ask(url, "POST", "/batch/connections", body=body)
    _say(made, f"{made['connection_id']}: {name} ({source_type})", as_json)
    tested = ask(
        url, "POST", f"/batch/connections/{made['connection_id']}/test", parameters={"user_id": user}
    )
    typer.echo(tested["message"], err=True)
    if not tested["success"]:
        raise typer.Exit(1)


def _json_of(file: Any) -> Any:
    try:
        return json.loads(file.read())
    except ValueError:
        raise typer.BadParameter("it is no JSON") from None


@app.command()
def submit(
    connections: Annotated[list[str], typer.Argument(metavar="CONNECTION…", help="Ids of connections; `conn_1:*.pdf` takes what a glob or id names.")],
    user: User,
    name: Annotated[str | None, typer.Option(help="What the job is called.")] = None,
    priority: Annotated[str, typer.Option(help="`low`, `normal`, `high`, `urgent`.")] = "normal",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="A processing option, `chunk_size=500`; the value is JSON, else text.")
    ] = None,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    follow: Annotated[bool, typer.Option("--watch/--no-watch", help="Show its progress until it ends.")] = True,
    as_json: AsJson = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Create a job over files of connections, start it and watch it."""
    known = _connections(url, user)
    chosen: dict[str, list[str]] = {}
    for given in connections:
        connection_id, _, wanted = given.partition(":")
        if connection_id not in known:
            typer.echo(
                f"There is no connection {connection_id}; there are: {', '.join(known) or 'none'}.", err=True
            )
            raise typer.Exit(REFUSED)
        chosen.setdefault(connection_id, []).append(wanted or "*")
    selections = [
        {"connection_id": one, "source_type": known[one], "file_ids": wanted}
        for one, wanted in chosen.items()
    ]
    body = {
        "user_id": user, "name": name or " and ".join(chosen), "priority": priority, "file_selections": selections,
        "processing_options": dict(map(_option, option or [])),
    }  # fmt: skip
    job = ask(url, "POST", "/batch/jobs", body=body)
    watched = start and follow
    if not (watched and as_json):  # then what is watched says all of it
        _say(job, f"{job['job_id']}: {job['total_files']} files", as_json)
    if start:
        control_job(url, user, job["job_id"], "start")
    if watched:
        watch_job(url, user, job["job_id"], as_json=as_json)


def _connections(url: str | None, user: str) -> dict[str, str]:
    found = ask_list(url, "/batch/connections", {"user_id": user})
    return {one["connection_id"]: one["source_type"] for one in found}


def _option(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals:
        raise typer.BadParameter(f"{given!r} is no option; write name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@app.command()
def jobs(
    user: User,
    status: Annotated[list[str] | None, typer.Option(help="Only jobs with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most jobs shown.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List jobs, newest first."""
    body = {"user_id": user, "limit": limit} | ({"status_filter": status} if status else {})
    listed = ask(url, "POST", "/batch/jobs/list", body=body)
    found = listed["jobs"]
    rows = (
        (
            one["job_id"], one["name"], one["status"], f"{one['progress_percentage']:.0f} %", str(one["total_files"]),
            str(one["failed_files"]), in_utc(one["created_at"]),
        )
        for one in found
    )  # fmt: skip
    print_items(
        found,
        ("job", "name", "status", "progress", "files", "failed", "created (UTC)"),
        rows,
        as_json=as_json,
    )
    if listed["has_more"]:
        typer.echo(f"There are {listed['total_jobs']} in all.", err=True)


@app.command()
def watch(job: JobId, user: User, as_json: AsJson = False, url: Url = None) -> None:
    """Show a job's progress until it ends or rests."""
    watch_job(url, user, job, as_json=as_json)


@app.command()
def control(
    job: JobId,
    action: Annotated[str, typer.Argument(help="`start`, `pause`, `resume`, `cancel`, `retry`.")],
    user: User,
    retry_all: Annotated[bool, typer.Option("--all", help="`retry` does all files again, not the failed alone.")] = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Start, pause, resume, cancel or retry a job."""
    typer.echo(control_job(url, user, job, action, failed_only=not retry_all)["message"])


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="In words.")],
    user: User,
    mode: Annotated[str, typer.Option(help="`hybrid`, `vector`, `text`.")] = "hybrid",
    limit: Annotated[int, typer.Option(min=1, max=50, help="Most hits.")] = 5,
    connection: Annotated[str | None, typer.Option(help="Only files of this connection.")] = None,
    language: Annotated[str | None, typer.Option(help="Only files in this language, such as `en`.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Search documents."""
    chosen = {"connection_id": connection, "language": language}
    filters = {name: value for name, value in chosen.items() if value is not None}
    body = {"user_id": user, "query": question, "mode": mode, "limit": limit, "filters": filters}
    found = ask(url, "POST", "/batch/search", body=body)
    rows = (
        (f"{hit['score']:.4f}", hit["file"]["path"], str(hit["page"]), _brief(hit["text"]))
        for hit in found["items"]
    )
    print_items(found["items"], ("score", "file", "page", "passage"), rows, as_json=as_json)
    if mode == "hybrid" and "vector" not in found["by"] and not as_json:
        typer.echo("No worker made a vector of the question, so this goes by words alone.", err=True)


def _brief(text: str, most: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


@app.command()
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare what is stored with itself: counts, chunks, spans, vectors; at the database, of all users."""
    from ingestion_assets.documents.verification import faults, mend  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    settings = load_settings()
    if repair:
        found = mend(engine(), settings, say=lambda said: typer.echo(said, err=True))
    else:
        with engine().connect() as connection:
            found = faults(connection, settings)
    rows = (
        (kind, "right" if not wrong else f"{len(wrong)} wrong: {', '.join(wrong[:3])}")
        for kind, wrong in found.items()
    )
    items = ({"check": kind, "wrong": wrong} for kind, wrong in found.items())
    print_items(items, ("check", "outcome"), rows, as_json=as_json)
    if any(found.values()):
        raise typer.Exit(1)


@app.command()
def demo(url: Url = None) -> None:
    """Ingest made-up documents of a folder, an archive and a drive, and search them."""
    from ingestion_assets.documents.demo_job import show  # noqa: PLC0415

    show(url)


def _say(item: Any, words: str, as_json: bool) -> None:
    typer.echo(msgspec.json.encode(item).decode() if as_json else words)
