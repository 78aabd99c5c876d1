"""What a client names as a repository, checked, as what lands; and back, for the run that clones it."""

from pathlib import Path

from ingestion_assets.repositories.addresses import Repository, check_ref, named_host, parse
from ingestion_assets.repositories.flow import Submission
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.settings import Settings, load_settings


def submission_of(text: str, ref: str | None, settings: RepositoriesSettings) -> Submission:
    """The submission. Raises `ValueError`, which says why there can be none."""
    return Submission(_parsed(text, settings).name, None if ref is None else check_ref(ref))


def submission_in(partition: str) -> Submission:
    """The submission whose key this is."""
    name, at, ref = partition.partition("@")
    return Submission(name, ref if at else None)


def repository_in(submission: Submission, settings: RepositoriesSettings) -> Repository:
    """The repository of a submission, checked again: the settings may have changed since. Raises `ValueError`."""
    return _parsed(submission.repository, settings)


def host_of(text: str, settings: RepositoriesSettings) -> str:
    """The host that a text names, as names of its repositories begin. Raises `ValueError`, which says why there is none."""
    return named_host(text, _listed(settings.hosts), _listed(settings.private_hosts))


def own_root(settings: Settings) -> Path:
    """The folder of the stack's home whose repositories are taken without being told of."""
    return settings.home / "repositories"


def _parsed(text: str, settings: RepositoriesSettings) -> Repository:
    roots = [*_listed(settings.roots), str(own_root(load_settings()))]
    return parse(text, _listed(settings.hosts), roots, _listed(settings.private_hosts))


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
