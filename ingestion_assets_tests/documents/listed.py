"""Names the flow for `INGESTION_FLOWS`, while it is not among those of the package."""

from ingestion_assets.documents.flow import DOCUMENTS as FLOW

__all__ = ["FLOW"]
