"""The settings of repositories: `INGESTION_REPOSITORIES_<NAME>`."""

from pydantic import Field, SecretStr

from ingestion_assets.settings import FlowSettings, load_flow_settings


class RepositoriesSettings(FlowSettings, env_prefix="INGESTION_REPOSITORIES_"):
    """What is taken, how much of it, and for how long it may wait."""

    hosts: str = Field(
        "github.com,gitlab.com,bitbucket.org,codeberg.org",
        description="Hosts that repositories are taken from, separated by commas. Their addresses must be public.",
    )
    private_hosts: str = Field(
        "",
        description="More hosts, separated by commas, that may lie in a private network: `git.internal`, with a port where it is not 443 (`127.0.0.1:8443`), with `http://` before it where it has no TLS.",
    )
    roots: str = Field(
        "",
        description="Folders with bare repositories that are taken by their path as well, separated by commas; for networks without a git server. Those in `<home>/repositories` are too.",
    )
    max_queue: int = Field(10, ge=1, description="Repositories that may wait; above it 429.")
    ttl_s: float = Field(
        86_400, gt=0, description="Seconds after which a repository that still waits is skipped."
    )
    text_model: str = Field(
        "all-MiniLM-L6-v2",
        description="Model that makes vectors of the text of code; another one embeds all anew.",
    )
    max_files: int = Field(
        20_000, ge=1, description="Files of a repository that are embedded; the others are `over_limit`."
    )
    max_file_bytes: int = Field(
        2**20, ge=1, description="Largest file that is embedded; above it `too_large`."
    )
    clone_s: float = Field(
        600,
        gt=0,
        description="Seconds that git may be waited for: while it clones, and at each reading of the clone.",
    )
    max_clone_bytes: int = Field(2 * 2**30, ge=1, description="Largest pack of a clone.")
    github_webhook_secret: SecretStr | None = Field(
        None, description="Secret of GitHub's webhook; unset, its calls are turned away."
    )
    watch_per_minute: int = Field(
        20,
        ge=1,
        description="Watched repositories that are asked for their newest commit in a minute, at most.",
    )
    watch_every_s: float = Field(
        900,
        ge=10,
        description="Seconds between two looks at a watched repository; after failures ever longer, a day at most.",
    )


def repositories_settings() -> RepositoriesSettings:
    """Those of this process, read once."""
    return load_flow_settings(RepositoriesSettings)
