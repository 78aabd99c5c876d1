"""Rounds of load, kill and rest against one stack, and what they came to."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from ingestion_assets.installed_flows import installed
from ingestion_assets_tests.faults.convergence import Audit, audit, come_to_rest, last_finished
from ingestion_assets_tests.faults.late_writes import LateWrites, late_writes
from ingestion_assets_tests.faults.load import Acknowledged, Client, Load, Send, Senders
from ingestion_assets_tests.faults.targets import SUPERVISORD, UP, kill
from ingestion_assets_tests.stacks import SHORT_REST, RunningStack, launch, running_stack, until_ready

DEADLINE_S = 120.0
LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"
SHORT_LEASE_S = (
    8.0  # what was killed is waited for that long; a lease that a slow machine lets end early breaks no law
)


def loads_of_flows() -> dict[str, Load]:
    """The load of each of our flows, which lies with its tests."""
    found = installed()
    ours = [name for name in found.flows if name not in found.foreign]
    return {name: import_module(f"ingestion_assets_tests.{name}.load").LOAD() for name in ours}


def settings_of(loads: Mapping[str, Load]) -> dict[str, object]:
    """The settings of a stack under these loads."""
    of_flows = {name: value for load in loads.values() for name, value in load.settings.items()}
    return of_flows | ({} if LONG else {**SHORT_REST, "lease_s": SHORT_LEASE_S})


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round of load. Seconds from the moment the last target was back until all payloads were finished, and until
    nothing was held any more."""

    targets: tuple[str, ...]
    finished_s: float
    quiet_s: float
    acknowledged: int
    last: str
    """The payload that was finished last."""
    answers: Counter[str]


@dataclass(slots=True, kw_only=True)
class Campaign:
    """All that was sent to one stack, by all flows at once."""

    stack: RunningStack
    mongodb: LateWrites | None
    """Where it was asked for, the stack's MongoDB is a server of ours behind a proxy that holds writes back."""
    rng: random.Random
    loads: Mapping[str, Load]
    rounds: list[Round] = field(default_factory=list)
    _unread: list[Acknowledged] = field(default_factory=list)

    def strike(self, *targets: str, payloads: int, deadline_s: float = DEADLINE_S) -> Round:
        """Send `payloads` of each flow, kill the targets one after the other meanwhile, wait for rest.

        Raises `AssertionError`.
        """

        def one_after_the_other(senders: Senders) -> float:
            back = time.monotonic()
            for target in targets:
                back = kill(target, self.stack, senders, self.rng)
                if target in (UP, SUPERVISORD):
                    self.stack = up_again(self.stack, settings_of(self.loads))
                    back = time.monotonic()
            return back

        made = self.payloads(payloads)
        return self.under_load(one_after_the_other, made, names=targets, deadline_s=deadline_s)

    def under_load(
        self,
        hurt: Callable[[Senders], float],
        payloads: Sequence[Send],
        *,
        names: tuple[str, ...],
        doors: Sequence[str] = (),
        deadline_s: float = DEADLINE_S,
    ) -> Round:
        """Send payloads, through more front doors too, let `hurt` do harm meanwhile, wait for rest.

        `hurt` returns the time (monotonic) at which the harm was over. Raises `AssertionError`.
        """
        with Senders(self.stack, payloads, doors=doors) as senders:
            back = hurt(senders)
            senders.finish(timeout_s=deadline_s)
            rest = come_to_rest(self.stack, senders.acknowledged, deadline_s=deadline_s)
        self.note(senders)
        done = Round(
            targets=names, finished_s=rest.finished_at - back, quiet_s=rest.quiet_at - back,
            acknowledged=len(senders.acknowledged), last=last_finished(self.stack), answers=senders.answers,
        )  # fmt: skip
        self.rounds.append(done)
        return done

    def payloads(self, count: int) -> list[Send]:
        """About `count` payloads of each flow, mixed. The oracles count on it that all of them are sent."""
        made = [one for load in self.loads.values() for one in load.payloads(self.rng, count=count)]
        self.rng.shuffle(made)
        return made

    def note(self, senders: Senders) -> None:
        """What senders were told is read again in the next audit."""
        self._unread += senders.acknowledged

    def audit(self) -> Audit:
        """The receipts since the last audit, and the tables of everything sent so far, against the oracles."""
        unread, self._unread = self._unread, []
        return audit(self.stack, self.loads, unread)


@contextmanager
def campaign(
    home: Path,
    *,
    seed: int,
    mongodb: LateWrites | None = None,
    flows: Collection[str] | None = None,
    **settings: object,
) -> Iterator[Campaign]:
    """A campaign against a new stack in `home`, which is stopped at the end, however often it was started again.

    `flows`: those that take part, all by default; `settings` of the stack, for as long as it is not killed as a whole.
    """
    given = settings if mongodb is None else {**settings, "mongodb_url": mongodb.url}
    loads = {name: load for name, load in loads_of_flows().items() if flows is None or name in flows}
    with running_stack(home, **settings_of(loads), **given) as stack:
        client = Client(stack)
        for load in loads.values():
            load.prepare(client)
        client.close()
        made = Campaign(stack=stack, mongodb=mongodb, rng=random.Random(seed), loads=loads)
        try:
            yield made
        finally:
            if made.stack is not stack:
                made.stack.process.terminate()
                made.stack.process.wait(timeout=40)


@contextmanager
def campaign_with_late_writes(home: Path, *, seed: int) -> Iterator[Campaign]:
    """A campaign whose MongoDB lies behind a proxy. Its target `MongoDB` can be stopped, not killed."""
    with late_writes(home / "own-mongodb") as mongodb, campaign(home, seed=seed, mongodb=mongodb) as made:
        yield made


def up_again(stack: RunningStack, settings: Mapping[str, object]) -> RunningStack:
    """`ingestion up` in the same home and on the same ports, once the killed one is gone."""
    stack.process.wait(timeout=60)
    ports = {"port": urlsplit(stack.url).port, "webserver_port": urlsplit(stack.dagster_url).port}
    return until_ready(stack.home, launch(stack.home, **settings, **ports))
