"""Rounds of load, kill and rest against one stack, and what they came to."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ingestion_assets_tests.faults.convergence import Audit, Rest, audit, come_to_rest
from ingestion_assets_tests.faults.load import Acknowledged, Load, Payload, payloads
from ingestion_assets_tests.faults.targets import SUPERVISORD, UP, kill
from ingestion_assets_tests.stacks import RunningStack, launch, running_stack, until_ready

DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One kill. Seconds from the moment the target was back until all payloads were finished, and until nothing
    was held any more."""

    target: str
    finished_s: float
    quiet_s: float
    answers: Counter[str]


@dataclass(slots=True, kw_only=True)
class Campaign:
    """All that was sent to one stack."""

    stack: RunningStack
    seed: int
    sent: list[Payload] = field(default_factory=list)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)

    def strike(self, target: str | None, *, lines: int = 240) -> Round:
        """Send a round of payloads, kill `target` (None: nothing) meanwhile, wait for rest. Raises `AssertionError`."""
        self.seed += 1
        rng = random.Random(self.seed)
        batch = payloads(seed=self.seed, lines=lines)
        self.sent += batch
        with Load(url=self.stack.url, token=self.stack.admin_token, payloads=batch, seed=self.seed) as load:
            try:
                back = time.monotonic() if target is None else kill(target, self.stack, load, rng)
                if target in (UP, SUPERVISORD):
                    self.stack = up_again(self.stack)
                    back = time.monotonic()
                load.finish(timeout_s=DEADLINE_S)
                rest = come_to_rest(self.stack, load.acknowledged, deadline_s=DEADLINE_S)
            finally:
                self.acknowledged += load.acknowledged
        assert len(load.acknowledged) == len(batch)
        done = _round(target or "nothing", rest, back, load)
        self.rounds.append(done)
        return done

    def audit(self) -> Audit:
        """Receipts and tables of everything sent so far against the oracle."""
        return audit(self.stack, self.acknowledged, self.sent)


@contextmanager
def campaign(home: Path, *, seed: int) -> Iterator[Campaign]:
    """A campaign against a new stack in `home`, which is stopped at the end, however often it was started again."""
    with running_stack(home) as stack:
        made = Campaign(stack=stack, seed=seed)
        try:
            yield made
        finally:
            if made.stack is not stack:
                made.stack.process.terminate()
                made.stack.process.wait(timeout=40)


def up_again(stack: RunningStack) -> RunningStack:
    """`ingestion up` in the same home and on the same ports, once the killed one is gone."""
    stack.process.wait(timeout=60)
    ports = {"port": urlsplit(stack.url).port, "webserver_port": urlsplit(stack.dagster_url).port}
    return until_ready(stack.home, launch(stack.home, **ports))


def _round(target: str, rest: Rest, back: float, load: Load) -> Round:
    return Round(
        target=target, finished_s=rest.finished_at - back, quiet_s=rest.quiet_at - back, answers=load.answers
    )


def summary(rounds: list[Round]) -> str:
    """Seconds until all was finished: median and most."""
    times = [one.finished_s for one in rounds]
    return f"{statistics.median(times):.1f} s, at most {max(times):.1f} s"
