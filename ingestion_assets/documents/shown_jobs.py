"""Jobs in a terminal: told what to do, watched until they rest, their failures and other lists as tables."""

import time
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ingestion_assets.command_output import print_table
from ingestion_assets.sending.front_door_client import ask

LOOK_S = 0.3
_ENDED = ("completed", "failed", "cancelled")
_RESTING = (*_ENDED, "pending", "paused")


def control_job(url: str | None, user: str, job: str, action: str, *, failed_only: bool = True) -> Any:
    body = {"user_id": user, "action": action, "retry_failed_only": failed_only}
    return ask(url, "POST", f"/batch/jobs/{job}/control", body=body)


def job_now(url: str | None, user: str, job: str) -> Any:
    return ask(url, "GET", f"/batch/jobs/{job}", parameters={"user_id": user})


def watch_job(
    url: str | None, user: str, job: str, *, as_json: bool = False, until: tuple[str, ...] = _RESTING
) -> Any:
    """Show a job until its status is one of `until`; raises `typer.Exit` 1 where it failed or was cancelled."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    now = job_now(url, user, job)
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bars:
        bar = bars.add_task("", total=None)
        shown = None
        while True:
            done = now["completed_files"] + now["failed_files"] + now["skipped_files"]
            waits = now.get("waiting_for")
            bars.update(
                bar, total=100, completed=now["progress_percentage"],
                description=f"{now['status']}, {done} of {now['total_files']} files" + (f": {waits['detail']}" if waits else ""),
            )  # fmt: skip
            told = {
                name: now[name]
                for name in (
                    "job_id",
                    "status",
                    "progress_percentage",
                    "completed_files",
                    "failed_files",
                    "skipped_files",
                    "total_files",
                )
            }
            if as_json and told != shown:
                typer.echo(msgspec.json.encode(told))
            shown = told
            if now["status"] in until:
                break
            time.sleep(LOOK_S)
            now = job_now(url, user, job)
    if not as_json:
        _failures(now)
    if now["status"] in {"failed", "cancelled"}:
        raise typer.Exit(1)
    return now


def _failures(job: Any) -> None:
    files = [file for source in job["source_progress"] for file in source["files"] if file["error"]]
    if files:
        rows = (
            (
                file["file_metadata"]["path"],
                file["error"]["code"],
                file["error"]["stage"],
                file["error"]["message"],
            )
            for file in files
        )
        print_table(("file", "code", "stage", "what went wrong"), rows)
