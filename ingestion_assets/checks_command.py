"""`ingestion checks run`: evaluates the checks for a CI, which heeds its exit status: 0, nothing failed; 1, something did; 2, not known."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from xml.etree import ElementTree

import msgspec
import typer

from ingestion_assets.command_errors import ending
from ingestion_assets.command_output import AsJson, print_json
from ingestion_assets.durations import duration_option

if TYPE_CHECKING:
    from ingestion_assets.orchestration.check_states import CheckState

app = typer.Typer(no_args_is_help=True, help="Evaluate the checks of what is stored.")

FAILED, NOT_KNOWN = 1, 2


class FailOn(StrEnum):
    """From which severity on a failed check makes the command fail."""

    ERROR = "error"
    WARN = "warn"


@app.callback()
def checks() -> None:
    """Evaluate the checks of what is stored."""


@app.command()
def run(
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select", "-s",
            help="Only these; repeatable: conversations, conversations/messages, conversations/messages:stored_once.",
        ),
    ] = None,
    since: Annotated[
        float | None,
        typer.Option(
            parser=duration_option, metavar="DURATION",
            help="Leave out partitions that nothing was written to in this time: 15m, 1h, 7d.",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="`warn`: a failed check of severity WARN is a failure, too.")
    ] = FailOn.ERROR,
    junit: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the results to this file, in JUnit's format.")
    ] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Evaluate checks. Those that look at what is stored are executed now; those that runs make of what they write tell what they
    said last, for each partition.

    Exit status: 0, none failed; 1, some failed; 2, some could not be evaluated or never were, or there is no such check or no stack,
    or the file cannot be written.
    """
    from ingestion_assets.definitions import definitions  # noqa: PLC0415
    from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
    from ingestion_assets.orchestration.check_runs import NoSuchCheckError, evaluate, selected  # noqa: PLC0415
    from ingestion_assets.orchestration.warm_code import load_own  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stack.dagster_instance import dagster_instance  # noqa: PLC0415
    from ingestion_assets.stores.postgres import engine  # noqa: PLC0415

    settings = load_settings()
    within = None if since is None else timedelta(seconds=since)
    try:
        own = [load_own(one, settings.project or Path.cwd()) for one in settings.own_modules]
        loaded = [definitions.get_repository_def(), *own]
        chosen = selected(loaded, select or ())
        now = ledger_now(engine())
        with dagster_instance() as instance:
            states, unable = evaluate(loaded, instance, chosen, since=within, now=now)
    except NoSuchCheckError as error:
        raise typer.BadParameter(str(error), param_hint="--select") from None
    except Exception as error:  # whatever it is, that a check fails is not known, and 1 would say so
        if ending(error) is not None:
            raise
        typer.echo(
            f"ingestion checks run: nothing is known of the checks: {type(error).__name__}: {error}", err=True
        )
        raise typer.Exit(NOT_KNOWN) from None
    failed = [one for one in states if not one.passed and (fail_on == FailOn.WARN or one.severity == "ERROR")]
    show = _print_json if as_json else _print_text
    show(states, unable)
    written = junit is None or _is_written(junit, as_junit(states, failed, unable))
    if unable or not written:
        raise typer.Exit(NOT_KNOWN)
    if failed:
        raise typer.Exit(FAILED)


def _is_written(file: Path, results: bytes) -> bool:
    """Write the results to the file; where that cannot be done, say why not."""
    try:
        file.write_bytes(results)
    except OSError as error:
        typer.echo(f"ingestion checks run: cannot write {file}: {error.strerror or error}", err=True)
        return False
    return True


def as_junit(states: "Sequence[CheckState]", failed: "Sequence[CheckState]", unable: Sequence[str]) -> bytes:
    """A suite an asset, a case a check and partition; what could not be evaluated is an error."""
    suites = ElementTree.Element("testsuites", name="ingestion checks")
    by_asset: dict[str, list[ElementTree.Element]] = {}
    for one in states:
        name = f"{one.check}[{one.partition}]" if one.partition else one.check
        case = ElementTree.Element("testcase", classname=one.asset, name=name, time="0")
        by_asset.setdefault(one.asset, []).append(case)
        if one in failed:
            told = ElementTree.SubElement(case, "failure", type=one.severity, message=_why(one))
            told.text = msgspec.json.format(msgspec.json.encode(one.metadata, enc_hook=str)).decode()
        elif not one.passed:
            ElementTree.SubElement(case, "system-out").text = f"warning: {_why(one)}"
    for name in unable:
        asset, _, check = name.rpartition(":")
        case = ElementTree.Element("testcase", classname=asset, name=check, time="0")
        ElementTree.SubElement(
            case, "error", message="It could not be evaluated; its run in Dagster, if it has one, says why."
        )
        by_asset.setdefault(asset, []).append(case)
    for asset, cases in sorted(by_asset.items()):
        count = {kind: str(sum(one.find(kind) is not None for one in cases)) for kind in ("failure", "error")}
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=asset,
            tests=str(len(cases)),
            failures=count["failure"],
            errors=count["error"],
        )
        suite.extend(cases)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)


def _why(state: "CheckState") -> str:
    told = state.metadata.get("what_to_do")
    where = f" on {state.partition}" if state.partition else ""
    return f"{state.name} failed{where} in run {state.run_id}" + (f". {told}" if told else "")


def _print_json(states: "Sequence[CheckState]", unable: Sequence[str]) -> None:
    print_json(states)
    for name in unable:
        asset, _, check = name.rpartition(":")
        print_json([{"asset": asset, "check": check, "partition": None, "passed": None}])


def _print_text(states: "Sequence[CheckState]", unable: Sequence[str]) -> None:
    for one in states:
        if not one.passed:
            typer.echo(f"{'failed' if one.severity == 'ERROR' else 'warning':<8} {_why(one)}")
    for name in unable:
        typer.echo(
            f"{'unknown':<8} {name} could not be evaluated; its run in Dagster, if it has one, says why"
        )
    passed = sum(one.passed for one in states)
    typer.echo(f"{passed} of {len(states)} checks passed, counted by partition.")
