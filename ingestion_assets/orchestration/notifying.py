"""The sensor that tells people of incidents: one message each to a webhook, as Slack's take them, and again after a day if more came.

Its cursor keeps which incidents were told; to lose it costs telling them again.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from ingestion_assets.orchestration.incidents import Incident

EVERY_S = 60
AGAIN = timedelta(days=1)
MESSAGES = 10  # one tick
TIMEOUT_S = 5.0
REFUSED = "refused"
"""In the cursor: the webhook does not take the message of this incident. It is sent again after all others."""
_OF_THE_MESSAGE = frozenset({400, 413, 422})
"""Answers that say something of the message, not of the webhook."""
NOT_SET = "INGESTION_NOTIFY_URL is not set, so nobody is told of failures."


def to_tell(
    found: "Iterable[Incident]", told: Mapping[str, str], *, now: datetime
) -> "tuple[list[Incident], dict[str, str]]":
    """The incidents that are news, those last whose message was refused; and when each of those that last was told. What is over is
    forgotten."""
    news: list[Incident] = []
    refused: list[Incident] = []
    lasting: dict[str, str] = {}
    for one in found:
        before = told.get(one.key)
        if before == REFUSED:
            lasting[one.key] = before
            refused.append(one)
            continue
        if before is not None:
            lasting[one.key] = before
            at = datetime.fromisoformat(before)
            if one.newest <= at or now - at < AGAIN:
                continue
        news.append(one)
    if refused:  # each gets its turn, should not all fit into one tick
        first = int(now.timestamp() // EVERY_S) * MESSAGES % len(refused)
        refused = refused[first:] + refused[:first]
    return news + refused, lasting


@dg.sensor(
    name="failure_notifications",
    minimum_interval_seconds=EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends a message to INGESTION_NOTIFY_URL, once for each thing that failed and is not tried again.",
)
def failure_notifications(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Look, and tell what is news."""
    from ingestion_assets.landing.clock import ledger_now  # noqa: PLC0415
    from ingestion_assets.orchestration.incidents import incidents  # noqa: PLC0415
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415

    settings = load_settings()
    if not settings.notify_url:
        return dg.SkipReason(NOT_SET)
    engine = postgres.engine()
    now = ledger_now(engine)
    found = incidents(context.instance, engine, now=now, runs_url=settings.runs_url)
    news, told = to_tell(found, json.loads(context.cursor or "{}"), now=now)
    sent = 0
    for one in news[:MESSAGES]:
        error, of_the_message = _send(settings.notify_url.get_secret_value(), one.text)
        if error:
            context.log.warning(
                f"INGESTION_NOTIFY_URL did not take a message of {len(one.text)} characters, on {one.key}: {error}. It is sent again in "
                f"{EVERY_S} s."
            )
            if not of_the_message:
                break
            told[one.key] = REFUSED
            continue
        told[one.key] = now.astimezone(UTC).isoformat()
        sent += 1
    return dg.SensorResult(
        skip_reason=f"{len({*told, *(one.key for one in news)})} incidents last, {sent} of them were told now.",
        cursor=json.dumps(told),
    )


def _send(url: str, text: str) -> tuple[str | None, bool]:
    """Post a message. Why it was not taken, without the address, which is a secret; and whether others may be."""
    import httpx  # noqa: PLC0415

    from ingestion_assets.tls_context import tls_context  # noqa: PLC0415

    try:
        answer = httpx.post(url, json={"text": text}, timeout=TIMEOUT_S, verify=tls_context())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__, False
    if answer.is_success:
        return None, False
    return f"it was answered {answer.status_code}", answer.status_code in _OF_THE_MESSAGE
