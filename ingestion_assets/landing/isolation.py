"""Working on payloads together and, where that fails, one by one, so that a poisonous one fails alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ingestion_assets.landing.claims import ClaimLostError, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.memory import out_of_memory
from ingestion_assets.stores.error_text import text_of

Result = TypeVar("Result")

OUT_OF_MEMORY = "out_of_memory"


@dataclass(frozen=True, slots=True)
class Worked(Generic[Result]):
    """What came of the payloads that could be worked on, in order, and the outcomes of those that could not."""

    results: list[Result] = field(default_factory=list)
    failed: list[DropOutcome] = field(default_factory=list)


def work_through(
    groups: Iterable[Sequence[DropRef]],
    work: Callable[[list[DropRef]], list[Result]],
    *,
    is_transient: Callable[[BaseException], bool],
) -> Worked[Result]:
    """Do `work` on each group; where that raises what will not pass, on each of its payloads alone.

    `work` must change nothing when it raises, or be right to repeat; it may add to its group what it works on beside. Raises what is nobody's fault: what is transient, and that the claim is lost.
    """
    done: Worked[Result] = Worked()
    for refs in map(list, groups):
        failed = _try(refs, work, is_transient, done)
        if failed is not None and len(refs) > 1:  # what the failed try held in memory is free by now
            apart = work_through(([ref] for ref in refs), work, is_transient=is_transient)
            done.results.extend(apart.results)
            done.failed.extend(apart.failed)
        elif failed is not None:
            done.failed.append(failed)
    return done


def _try(
    refs: list[DropRef],
    work: Callable[[list[DropRef]], list[Result]],
    is_transient: Callable[[BaseException], bool],
    done: Worked[Result],
) -> DropOutcome | None:
    """The outcome of the first payload, should the work fail; its traceback, which holds what the work held, ends here."""
    try:
        done.results.extend(work(refs))
    except Exception as error:
        if is_transient(error) or isinstance(error, ClaimLostError):
            raise
        return _failed(refs[0], error)
    return None


def _failed(ref: DropRef, error: Exception) -> DropOutcome:
    code, reason = "processing_failed", text_of(error)
    if isinstance(error, MemoryError):
        code = OUT_OF_MEMORY
        reason = f"alone, the payload of {ref.size_bytes:,} bytes was too much: {out_of_memory(error)}"[:2000]
    return DropOutcome(
        ref.id,
        {},
        rejects=[Reject(-1, "payload", code, reason, b"")],
        errors=[{"code": code, "reason": reason}],
        failed=True,
    )
