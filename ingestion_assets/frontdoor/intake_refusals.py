"""What the intake cannot take, as the problem that says so."""

from types import TracebackType

from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.landing.drops import (
    IdempotencyConflictError,
    LandingUnavailableError,
    UncertainLandingError,
)


class _IntakeRefusals:
    """Turns what the intake cannot take into the 422 or 503 that says so."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, IdempotencyConflictError):
            raise Problem(
                422,
                "This Idempotency-Key was used before with another body.",
                errors=[
                    error_item(
                        "header", "Idempotency-Key", msg="used with another body", type="idempotency_conflict"
                    )
                ],
                receipt=str(error),
            ) from error
        if isinstance(error, UncertainLandingError):
            raise Problem(
                503,
                "landing storage failed while this payload was made durable: it is not known whether it was accepted. Where it was "
                "sent with an Idempotency-Key, repeating it with the same key is safe: it is taken once.",
                retry_after_s=5,
                dependency="landing",
                accepted="unknown",
            ) from error
        if isinstance(error, LandingUnavailableError):
            raise Problem(
                503,
                "landing storage cannot take payloads now. Nothing was accepted; try again later.",
                retry_after_s=5,
                dependency="landing",
            ) from error


intake_refusals = _IntakeRefusals()
