"""Modules under fire: snapshots of a few sites, by HTTP and through the queue, in any order, and the histories they must give."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ingestion_assets.modules.sync import Incoming
from ingestion_assets.modules.web.queue_intake import QUEUE
from ingestion_assets.stores import postgres
from ingestion_assets_tests.faults.load import (
    Acknowledged,
    Client,
    Findings,
    Post,
    Send,
    Single,
    Versions,
    some_key,
    waits,
)
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.modules.replay import body, incoming, module, replay, stored
from ingestion_assets_tests.stacks import RunningStack

SITES = 3
ALWAYS, SOMETIMES = 28, 12
"""Modules that a full snapshot always and sometimes names: so few are removed that none is held back without its word."""

_SYNCS = """
    SELECT regexp_replace(d.idempotency_key, '^.*:', '') AS key, s.site_id, s.state, s.sequence FROM ingestion.module_syncs s
    JOIN ingestion.drops d USING (id) ORDER BY s.site_id, s.sequence
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A sync as another producer pushes it on the queue."""

    job_id: str
    job: bytes
    records: int

    def __call__(self, client: Client) -> list[Acknowledged]:
        client.push(QUEUE, self.job)
        while (said := client.value(f"job_status:{self.job_id}")) is None:
            client.pause()
        status = json.loads(said)
        assert status["status"] == "landed", f"the job {self.job_id} was refused: {status}"
        return [Acknowledged(receipt=status["receipt"], records=self.records)]


class ModuleSyncs:
    """Snapshots of a few sites, their times counting up while senders mix them; some come twice, some remove much."""

    settings: Mapping[str, object] = {
        "sync_rate_limit": "1000000/hour",  # counted as ever, and never reached
        "release_history_url": "http://127.0.0.1:9",  # nobody is asked
    }

    def __init__(self) -> None:
        self._sites: list[int] = []
        self._sent: dict[str, Incoming] = {}
        self._revised: list[tuple[str, str]] = []
        """Keys of syncs with one time, the second sent once the first was acknowledged."""
        self._minute = 0

    def prepare(self, client: Client) -> None:
        made = [
            client.request("POST", "/api/v1/sites", json={"name": f"site {n}"}).json() for n in range(SITES)
        ]
        self._sites = [site["id"] for site in made]

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        """Syncs: full and partial ones, old inventories again, one in six under two keys."""
        made: list[Send] = []
        for _ in range(count):
            site = rng.choice(self._sites)
            self._minute += 1
            kind = rng.choices(("full", "partial", "again", "small", "revised"), (5, 2, 1, 2, 2))[0]
            if kind == "revised":
                made.append(self._versions(rng, site))
                continue
            earlier = [one for one in self._sent.values() if one.site_id == site and not one.confirmed]
            if kind == "again" and earlier:
                before = rng.choice(earlier).request
                reported, sync_type = [one.model_dump() for one in before.modules], before.sync_type
            else:
                reported = _reported(rng, kind)
                sync_type = "partial" if kind == "partial" else "full"
            data = body(reported, minute=self._minute, sync_type=sync_type)
            sync = incoming(
                site, reported, minute=self._minute, sync_type=sync_type, confirmed=kind == "small"
            )
            times = 1 + (rng.random() < 1 / 6)
            made += [self._payload(rng, sync, data) for _ in range(times)]
        return made

    def single(self, rng: random.Random) -> Single:
        self._minute += 1
        site, reported, key = rng.choice(self._sites), _reported(rng, "full"), some_key(rng)
        sync = incoming(site, reported, minute=self._minute, sync_type="full")
        return Single(
            post=_post(rng, sync, key, body(reported, minute=self._minute, sync_type="full")),
            accepted=lambda: self._sent.update({key: sync}),
        )

    def _versions(self, rng: random.Random, site: int) -> Versions:
        """Two inventories of one moment: the one that was sent last is true."""
        keys, posts = [some_key(rng), some_key(rng)], list[Post]()
        for key in keys:
            reported = _reported(rng, "full")
            self._sent[key] = sync = incoming(site, reported, minute=self._minute, sync_type="full")
            posts.append(_post(rng, sync, key, body(reported, minute=self._minute, sync_type="full")))
        self._revised.append((keys[0], keys[1]))
        return Versions(messages=posts)

    def _payload(self, rng: random.Random, sync: Incoming, data: Mapping[str, Any]) -> Send:
        key, records = some_key(rng), len(data["modules"])
        by_queue = not sync.confirmed and len(self._sent) % 2
        self._sent[key] = sync
        if by_queue:
            job = {"job_id": key, "site_id": sync.site_id, "data": data}
            return Job(job_id=key, job=json.dumps(job).encode(), records=records)
        made = _post(rng, sync, key, data)
        return replace(made, parameters={"confirm_removals": "true"}) if sync.confirmed else made

    def records_in(self, result: Mapping[str, Any]) -> int:
        return result["processed_count"]

    def audit(self, stack: RunningStack) -> Findings:
        """Each site's syncs once each, its newest snapshot in force, and its history what a replay gives."""
        syncs = rows(stack, _SYNCS)
        different = [
            f"sync {key} was never decided on" for key in self._sent.keys() - {s["key"] for s in syncs}
        ]
        different += [
            f"sync {one['key']} is {one['state']}"
            for one in syncs
            if one["state"] not in ("applied", "superseded")
        ]
        place = {one["key"]: one["sequence"] for one in syncs if one["state"] == "applied"}
        different += [
            f"sync {first} was applied after {second}, which was sent after it was acknowledged"
            for first, second in self._revised
            if place.get(first, 0) > place.get(second, place.get(first, 0))
        ]
        engine = postgres.engine(stack.environment["INGESTION_POSTGRES_URL"])
        for site in self._sites:
            applied = [
                self._sent[one["key"]]
                for one in syncs
                if one["site_id"] == site and one["state"] == "applied"
            ]
            different += [f"site {site}: {said}" for said in self._history(engine, site, applied)]
        engine.dispose()
        return Findings(doubled=len(syncs) - len(self._sent), different=different)

    def _history(self, engine: sa.Engine, site: int, applied: Sequence[Incoming]) -> list[str]:
        """Where the tables differ from a replay of the syncs in the order in which they were applied."""
        moments = replay(applied)
        if len(moments) != len(applied):
            return ["a sync was applied after a newer one"]
        newest = max(
            (one.request.sync_timestamp for one in self._sent.values() if one.site_id == site), default=None
        )
        if newest is None:
            return []
        if not moments or moments[-1].at != newest:
            return [f"its newest snapshot, of {newest}, is not in force"]
        last_of = {moment.at: moment for moment in moments}
        said = [
            f"as of {at}"
            for at, moment in last_of.items()
            if stored(engine, site, as_of=at) != moment.modules
        ]
        return said + ["now"] * (stored(engine, site) != moments[-1].modules)


def _post(rng: random.Random, sync: Incoming, key: str, data: Mapping[str, Any]) -> Post:
    return Post(
        path=f"/api/v1/sites/{sync.site_id}/modules/sync", key=key, body=json.dumps(data).encode(),
        records=len(data["modules"]), waits=waits(rng),
    )  # fmt: skip


def _reported(rng: random.Random, kind: str) -> list[dict[str, Any]]:
    names = [f"m{n}" for n in range(ALWAYS + SOMETIMES)]
    chosen = {
        "full": lambda: names[:ALWAYS] + rng.sample(names[ALWAYS:], rng.randint(SOMETIMES // 2, SOMETIMES)),
        "again": lambda: names,
        "partial": lambda: rng.sample(names, rng.randint(1, 8)),
        "small": lambda: rng.sample(names, rng.randint(1, 8)),
    }[kind]()
    return [
        module(name, f"1.{rng.randint(0, 3)}.0", status=rng.random() < 0.9, type="custom") for name in chosen
    ]


LOAD = ModuleSyncs
