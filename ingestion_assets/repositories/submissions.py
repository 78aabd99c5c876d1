"""What a client names as a repository, checked, as what lands."""

from ingestion_assets.repositories.addresses import parse
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.repositories.settings import RepositoriesSettings


def submission_of(text: str, ref: str | None, settings: RepositoriesSettings) -> Submission:
    """The submission. Raises `ValueError`, which says why there can be none."""
    return Submission(parse(text, settings.hosts.split(","), []).name, ref)
