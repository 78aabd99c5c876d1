"""`ingestion documents demo`: made-up documents of a folder, an archive and a drive, in one job that is paused, resumed and run again; then
searched."""

import shutil
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from ingestion_assets.documents.sample_documents import QUESTIONS, sample_documents
from ingestion_assets.documents.sample_drive import FOLDER_ID, sample_drive
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.shown_jobs import control_job, job_now, watch_job
from ingestion_assets.sending.front_door_client import ask

USER = "demo"
FILES = 48
LOOK_S = 0.2
ENDED = ("completed", "failed", "cancelled")

console = Console()


def show(url: str | None) -> None:
    """Raises `typer.Exit` where something did not go as it should."""
    settings = documents_settings()
    roots = [Path(root.strip()) for root in settings.document_roots.split(",") if root.strip()]
    if not roots:
        console.print(
            "No folder of this machine is open to connections (INGESTION_DOCUMENT_ROOTS), so no documents are shown."
        )
        return
    folder = roots[0] / "ingestion-sample"
    with ExitStack() as open_until_then:
        open_until_then.callback(shutil.rmtree, folder, ignore_errors=True)
        connections = _connections(url, folder, settings.google_drive_url, open_until_then)
        first = _submit(url, connections)
        _interrupted(url, first["job_id"])
        ended = watch_job(url, USER, first["job_id"], until=ENDED)
        console.print(
            f"{ended['completed_files']} files of {len(connections)} sources are stored. The same once more:"
        )
        again = watch_job(url, USER, _submit(url, connections)["job_id"], until=ENDED)
    if ended["status"] != "completed" or again["skipped_files"] != again["total_files"]:
        console.print(f"[red]{again['completed_files']} files were stored again.[/red]")
        raise typer.Exit(1)
    console.print(f"[green]0 embedded:[/green] all {again['skipped_files']} files are as they were.")
    _ask_questions(url)


def _connections(url: str | None, folder: Path, drive: str | None, open_until_then: ExitStack) -> list[Any]:
    """A third of the documents each: a folder, an archive, a drive where the settings lead to one of this machine."""
    made = [*sample_documents(FILES).items()]
    place = urlsplit(drive or "")
    has_drive = place.hostname == "127.0.0.1" and place.port is not None
    in_folder, in_archive, on_drive = (
        (made[:24], made[24:40], made[40:]) if has_drive else (made[:24], made[24:], [])
    )
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    for name, content in in_folder:
        (folder / "files" / name).write_bytes(content)
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for name, content in in_archive:
            archive.writestr(name, content)
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        ("local_directory", "Folder", {"path": str(folder / "files")}),
        ("local_zip", "Archive", {"path": str(folder / "more.zip")}),
    ]
    if has_drive:
        open_until_then.enter_context(sample_drive(place.port or 0, dict(on_drive)))
        oauth = {"client_id": "sample", "client_secret": "sample", "refresh_token": "sample"}
        wanted.append(("google_drive", "Drive", {"folder_id": FOLDER_ID, "oauth": oauth}))
    _forget_old(url)
    return [
        ask(
            url,
            "POST",
            "/batch/connections",
            body={"user_id": USER, "source_type": kind, "name": name, "config": config},
        )
        for kind, name, config in wanted
    ]


def _forget_old(url: str | None) -> None:
    for one in ask(url, "GET", "/batch/connections", parameters={"user_id": USER, "limit": 100})["items"]:
        ask(url, "DELETE", f"/batch/connections/{one['connection_id']}", parameters={"user_id": USER})


def _submit(url: str | None, connections: list[Any]) -> Any:
    selections = [
        {"connection_id": one["connection_id"], "source_type": one["source_type"], "file_ids": ["*"]}
        for one in connections
    ]
    job = ask(
        url,
        "POST",
        "/batch/jobs",
        body={"user_id": USER, "name": "Sample reports", "file_selections": selections},
    )
    control_job(url, USER, job["job_id"], "start")
    return job


def _interrupted(url: str | None, job: str) -> None:
    """Pause the job once it has stored some files, and resume it."""
    now = watch_job(url, USER, job, until=(*ENDED, "running"))
    while now["status"] == "running" and not now["completed_files"]:
        time.sleep(LOOK_S)
        now = job_now(url, USER, job)
    if now["status"] != "running":
        console.print("It ended before it could be paused.")
        return
    control_job(url, USER, job, "pause")
    while (now := job_now(url, USER, job)).get("pausing"):
        time.sleep(LOOK_S)
    if now["status"] != "paused":
        console.print("All that was left was in hand when it was to be paused.")
        return
    console.print(f"Paused with {now['completed_files']} of {now['total_files']} files stored; resumed:")
    control_job(url, USER, job, "resume")


def _ask_questions(url: str | None) -> None:
    missed = 0
    for question, wanted in QUESTIONS.items():
        found = ask(url, "POST", "/batch/search", body={"user_id": USER, "query": question, "limit": 3})[
            "items"
        ]
        console.print(f"\n[bold]{question}[/bold]")
        for hit in found:
            passage = " ".join(hit["text"].split())[:120]
            console.print(
                f"  {hit['file']['path']}, page {hit['page']}: {passage}", markup=False, highlight=False
            )
        missed += not any(hit["file"]["name"].startswith(f"{wanted}.") for hit in found)
    if missed:
        console.print(f"[red]{missed} questions did not lead to the file that answers them.[/red]")
        raise typer.Exit(1)
