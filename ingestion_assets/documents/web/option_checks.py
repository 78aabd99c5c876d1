"""What of processing options their own rules cannot tell: which models are to be had, what is no connection's."""

from ingestion_assets.documents.job_options import ProcessingOptions
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.web.source_threads import sources
from ingestion_assets.embedding.errors import EmbeddingError
from ingestion_assets.embedding.models import Model, probe
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid
from ingestion_assets.settings import Settings


def model_of(options: ProcessingOptions, settings: Settings) -> Model:
    """The model that makes the vectors. Asks an endpoint, so for a thread. Raises `Problem` 422, also where no model can be shown pages."""
    if options.use_llm_parsing and documents_settings().documents_llm_url is None:
        why = "no endpoint is set: INGESTION_DOCUMENTS_LLM_URL"
        raise invalid(
            [error_item("body", "processing_options", "use_llm_parsing", msg=why, type="llm_unavailable")]
        )
    try:
        return probe(options.embedding_model_preference, settings)
    except EmbeddingError as error:
        place = ("processing_options", "embedding_model_preference")
        raise invalid([error_item("body", *place, msg=str(error), type="model_unavailable")]) from error


async def check_own(options: ProcessingOptions, settings: Settings, *, user_id: str) -> None:
    """Options of a connection's syncs, refused where a sync could not make its job. Raises `Problem` 422."""
    if options.source_specific_options.passwords:
        place = ("processing_options", "source_specific_options", "passwords")
        raise Problem(
            422, "Passwords belong to a job, not to a connection.",
            errors=[error_item("body", *place, msg="not taken here", type="passwords")],
        )  # fmt: skip
    await sources.run(user_id, lambda: model_of(options, settings))
