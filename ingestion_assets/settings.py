"""The environment variables of the spine, typed, with default and meaning; those of a flow lie with it (`FlowSettings`).

Nothing else in the package looks at the environment. Values come, in this order, from the environment
(`INGESTION_<NAME>`), from `<home>/stack.env` (written by `ingestion up`, so that every command finds the
running stack; the programs of the stack itself do without), and from the defaults below.
"""

from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingestion_assets.own_modules import OwnModule, read_modules

STACK_ENV_FILE = "stack.env"
NO_WEBSERVER = "none"
_HEADERS = TypeAdapter(dict[str, str])


class MissingSettingError(LookupError):
    """Something needs a setting that is not there; the text says which and how to get it."""


class Settings(BaseSettings):
    """All settings of one stack. Read them with `load_settings()`."""

    model_config = SettingsConfigDict(env_prefix="INGESTION_", extra="ignore", frozen=True)

    home: Path = Field(
        Path(".ingestion"), description="The folder that holds all state of the stack; deletable as a whole."
    )
    host: str = Field(
        "127.0.0.1", description="Address that the front door and the Dagster webserver listen on."
    )
    port: int = Field(8080, ge=1, le=65535, description="Port of the front door.")
    webserver_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster webserver.")
    webserver_url: str | None = Field(
        None,
        description="Address at which the Dagster webserver is asked to start runs; default: built from host and webserver port. `none`: nobody is asked, Dagster's sensors alone start them, some seconds later.",
    )
    dagster_headers: SecretStr | None = Field(
        None,
        description='Headers that whoever stands before the Dagster webserver wants of front doors, as JSON: `{"Authorization": "Bearer …"}`.',
    )
    public_url: str | None = Field(
        None,
        description="Address of the front door for people, with which links to receipts begin; default: built from host and port.",
    )
    public_webserver_url: str | None = Field(
        None,
        description="Address of the Dagster UI for people, with which links to runs begin; default: the webserver's.",
    )
    webserver_hosts: str | None = Field(
        None,
        description="More names under which the Dagster webserver is reached and whose pages may ask it, separated by commas; loopback names and the addresses above are known.",
    )
    webserver_password: SecretStr | None = Field(
        None,
        description="Password that the Dagster webserver asks for (HTTP Basic, any user name); front doors use it too. Unset, it asks nobody.",
    )
    webserver_proxies: str | None = Field(
        None,
        description="Addresses or networks of proxies that authenticate people for the Dagster webserver, separated by commas: from them it takes requests with the header below without the password.",
    )
    webserver_user_header: str = Field(
        "X-Forwarded-User",
        description="Header in which such a proxy names who it has authenticated; it must remove what clients send under that name.",
    )
    admin_token: SecretStr | None = Field(
        None,
        description="One more API key, with the scope `admin`. `ingestion up` makes one where none is given and keeps it in `<home>/admin_token`.",
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="What secrets in the database (of webhooks, of connections to sources) are sealed with: keys of 32 random characters or more, separated by commas, the same for every front door and worker; the first seals, all open; default: what is kept in `<home>/secret_key`.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="The older name for one such key: it opens too, and seals where there are no others.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="Key that commands which ask a front door use, `ingestion send` and all with `--url`; default: the admin token. `ingestion rejects redrive` uses it where there is no admin token.",
    )
    claude_config_dir: str | None = Field(
        None,
        validation_alias="CLAUDE_CONFIG_DIR",
        description="Claude Code's own variable: the folder, or several with commas between them, that `ingestion send claude` sends from; default: `~/.claude`.",
    )

    postgres_url: str | None = Field(
        None,
        description="PostgreSQL to use instead of the embedded one: `postgresql://user:password@host:port/database`.",
    )
    mongodb_url: str | None = Field(
        None, description="MongoDB to use instead of the embedded server: `mongodb://…`."
    )
    mongodb_database: str = Field("ingestion", description="Database within MongoDB.")
    redis_url: str | None = Field(
        None,
        description="Redis or Valkey to use instead of the embedded one: `redis://…`, `rediss://…` with TLS.",
    )
    kafka_url: SecretStr | None = Field(
        None,
        description="Kafka whose topics zones can name as sources: `kafka://host:9092,other:9092`, and after a `?` settings of librdkafka, such as `security.protocol=SASL_SSL`, in whose values `%`, `&` and `#` are written `%25`, `%26` and `%23`.",
    )
    landing_url: str | None = Field(
        None,
        description="Object store that payloads land on (`s3://…`, `gs://…`, `az://…`) instead of `<home>/landing`.",
    )

    landing_look_s: float = Field(
        60.0,
        gt=0,
        description="Seconds between two looks into the inboxes of an object store; segments that the ledger has missed are looked for "
        "five times as seldom. Each look is a LIST, which costs money.",
    )

    default_wait_s: float = Field(
        30.0,
        ge=0,
        le=600,
        description="Seconds an endpoint that promises results waits for them before it answers 202.",
    )
    max_wait_s: float = Field(
        120.0, ge=0, description="Longest wait that `Prefer: wait=N` is honoured for, in seconds."
    )
    max_body_bytes: int = Field(
        64 * 2**20, gt=0, description="Largest request body as sent, in bytes; above it 413."
    )
    max_decoded_bytes: int = Field(
        64 * 2**20, gt=0, description="Largest request body after decompression, in bytes; above it 413."
    )
    max_inflight_bytes: int = Field(
        96 * 2**20,
        gt=0,
        description="Request bytes held in memory by one front door; above it requests wait, then 503 with Retry-After.",
    )
    max_json_depth: int = Field(200, gt=0, description="Deepest JSON nesting accepted; above it 413.")
    rate_limit: str = Field(
        "6000/minute",
        description="Requests per API key, in the notation of the `limits` library (`100/second;5000/hour`); empty switches it off.",
    )
    max_streams: int = Field(
        500,
        ge=0,
        description="WebSockets and event streams of receipts that one front door serves at once (one key a quarter of them); above it 503.",
    )
    websocket_origins: str = Field(
        "",
        description="Origins of other sites whose pages may open WebSockets here, separated by commas: `https://app.example.com`; `*`: any. A page of the front door's own host may.",
    )
    body_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Seconds without a byte of the request body after which the request is answered 408.",
    )
    drain_s: float = Field(
        8.0, ge=0, description="Seconds that a stopping front door gives its requests to finish."
    )

    flows: str = Field(
        "",
        description="Flows of other packages beside those that name themselves by an entry point: modules that have a `FLOW`, separated by commas.",
    )
    first_day: date = Field(
        date(2026, 1, 1),
        description="The first day (UTC) that Dagster shows of flows whose partitions are days: the day on which a stack was installed. No payload may have arrived before.",
    )
    claim_max_bytes: int = Field(
        48 * 2**20,
        gt=0,
        description="Most landed bytes that one run claims; bounds a run's memory. The rest get the next run.",
    )
    backfill_days_a_run: int = Field(
        100,
        ge=1,
        le=1000,
        description="Most days that one run of a backfill rebuilds, one after the other. 1: a run a day.",
    )
    lease_s: float = Field(
        20.0, gt=0, description="Seconds after its last heartbeat that a run's lease on its lane ends."
    )
    lane_rest_s: float = Field(
        20.0,
        ge=0,
        le=300,
        description="Seconds after the start of a run before its lane gets the next one, while nobody waits for an outcome and little has gathered: every run costs disk. 0: at once.",
    )
    passed_checks_every_s: float = Field(
        60.0,
        ge=0,
        description="Seconds within which Dagster stores once that a check passes, of runs that the ledger asked for; that one fails is stored each time, and of a run started by hand everything. 0: each time.",
    )
    run_stalled_s: float = Field(
        300.0,
        gt=0,
        description="Seconds that a run's process may stand still (take no processor time: stopped, deadlocked, waiting for something that does not come) before its worker interrupts it, then kills it.",
    )
    cancel_pause_s: float = Field(
        300.0,
        ge=0,
        description="Seconds that the payloads of a cancelled run wait before another run takes them.",
    )
    max_attempts: int = Field(
        4, ge=1, description="Times a payload may make a run fail before it is `failed`."
    )
    backlog_limit_s: float | None = Field(
        None,
        gt=0,
        description="Seconds that a payload may wait for its run, or has to expect to by the pace of the last minutes, before new ones of its flow get 503 with Retry-After; default: three times what is normal for the flow, 15 minutes where it says nothing else.",
    )
    retention_days: int | None = Field(
        None,
        ge=30,
        le=36_500,
        description="Days after which finished payloads, their receipts and idempotency keys are deleted; unset, all are kept.",
    )
    run_retention_days: float = Field(
        30,
        ge=0,
        le=36_500,
        description="Days after which Dagster's superseded runs are deleted, with their events and logs; 0: never.",
    )
    run_retention_gb: float | None = Field(
        None,
        gt=0,
        description="Gigabytes that Dagster's runs may take in the database; the oldest superseded ones beyond that are deleted.",
    )

    workers_default: int = Field(2, ge=1, description="Warm worker processes on the queue `default`.")
    workers_gpu: int = Field(1, ge=0, description="Warm worker processes on the queue `gpu`; 0 starts none.")
    workers_batch: int = Field(
        2, ge=0, description="Warm worker processes on the queue `batch`; 0 starts none."
    )
    gpu_target: str | None = Field(
        None,
        description="What answers call the workers on the queue `gpu`; default: the name of their host.",
    )
    model_folders: str = Field(
        "",
        description="Folders with sentence-transformers models beside the packaged one, separated by commas: each is a model, or holds models. A model goes by its folder's name.",
    )
    embedding_endpoints: SecretStr | None = Field(
        None,
        description='OpenAI-compatible servers of embedding models, as JSON: `[{"url": "https://api.openai.com/v1", "key": "…", "models": ["text-embedding-3-large"]}]`; [more of it](documents.md#models).',
    )
    modules: str = Field(
        "",
        description="Modules of your own project that `ingestion up` runs as code locations beside ours, separated by commas: `[location=]package.module[:attribute]`; [more of it](beside-other-code.md).",
    )
    project: Path | None = Field(
        None,
        description="The folder that these modules lie in; default: the one in which `ingestion up` was started.",
    )
    workspace: Path | None = Field(
        None,
        description="A `workspace.yaml` with code locations of your own, for the stack of `ingestion up`.",
    )
    launcher: Literal["warm", "dagster"] = Field(
        "warm",
        description="Who starts the runs of `ingestion up`: our launcher, in warm workers, or Dagster's own, in a process for each run; [more of it](beside-other-code.md#runs-of-dagsters-own).",
    )
    runs_elsewhere: int = Field(
        4,
        ge=1,
        description="Runs of other code locations on the same Dagster instance at once, which another launcher starts.",
    )
    worker_drain_s: float = Field(
        2.5,
        gt=0,
        description="Seconds that runs get to end once the workers of `ingestion up` are to stop: those of many steps end at a safe point, what is not over then is cut off and runs again. The stack takes that much longer to stop.",
    )
    worker_spare_mb: int = Field(
        128,
        ge=1,
        description="A worker process that holds this many MB more after a run than when it was warm is replaced.",
    )
    heartbeat_s: float = Field(2.0, gt=0, description="Seconds between heartbeats of a run's worker.")

    notify_url: SecretStr | None = Field(
        None,
        description='Webhook that gets a message (`{"text": …}`, as Slack\'s take it) once for each thing that failed and is not tried again; unset, nobody is told.',
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that is logged."
    )
    log_json: bool = Field(False, description="Log as JSON lines instead of text.")

    @field_validator("dagster_headers")
    @classmethod
    def _are_headers(cls, headers: SecretStr | None) -> SecretStr | None:
        if headers is not None:
            _HEADERS.validate_json(headers.get_secret_value())
        return headers

    @field_validator("modules")
    @classmethod
    def _names_modules(cls, modules: str) -> str:
        read_modules(modules)
        return modules

    @property
    def own_modules(self) -> list[OwnModule]:
        """The code locations beside ours."""
        return read_modules(self.modules)

    @property
    def idle_queues(self) -> frozenset[str]:
        """The queues that no worker takes runs from; the queue `default` always has one."""
        workers = {"gpu": self.workers_gpu, "batch": self.workers_batch}
        idle = frozenset(queue for queue, number in workers.items() if not number)
        return idle if self.launcher == "warm" else frozenset()

    @property
    def dagster_url(self) -> str:
        """Base address of the Dagster webserver, for whoever asks it something."""
        given = self.webserver_url if self.asks_dagster else None
        return (given or self._address(self.webserver_port)).rstrip("/")

    @property
    def front_door_url(self) -> str:
        """Base address of the front door, for whoever asks it something on this machine."""
        return self._address(self.port)

    @property
    def reached_at(self) -> str:
        """Where this machine reaches what listens on `host`, which may stand for all of its addresses."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    def _address(self, port: int) -> str:
        host = f"[{self.reached_at}]" if ":" in self.reached_at else self.reached_at
        return f"http://{host}:{port}"

    @property
    def asks_dagster(self) -> bool:
        """Whether there is a Dagster webserver for front doors to ask."""
        return self.webserver_url != NO_WEBSERVER

    @property
    def headers_for_dagster(self) -> dict[str, str]:
        """What requests to the Dagster webserver carry."""
        given = self.dagster_headers.get_secret_value() if self.dagster_headers else "{}"
        return _HEADERS.validate_json(given)

    @property
    def dagster_login(self) -> tuple[str, str] | None:
        """User name and password for the Dagster webserver; None if it asks for none."""
        password = self.webserver_password.get_secret_value() if self.webserver_password else ""
        return ("ingestion", password) if password else None

    @property
    def runs_url(self) -> str:
        """What links to runs in the Dagster UI begin with."""
        return f"{(self.public_webserver_url or self.dagster_url).rstrip('/')}/runs"

    @property
    def receipts_url(self) -> str:
        """What links to receipts begin with, where a link must be whole."""
        return f"{(self.public_url or self.front_door_url).rstrip('/')}/api/v1/receipts"

    def require(self, name: Literal["postgres_url", "mongodb_url", "redis_url"]) -> str:
        """The URL of a store, or an error that says how to get one."""
        value = getattr(self, name)
        if value is None:
            raise MissingSettingError(
                f"INGESTION_{name.upper()} is not set and no running stack was found in {self.home}; "
                "start one with `ingestion up` or set the variable."
            )
        return value


class FlowSettings(BaseSettings):
    """What the settings of a flow derive from. It gives its own prefix: `class Notes(FlowSettings, env_prefix="INGESTION_NOTES_")`.

    Read them with `load_flow_settings`.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


FlowSettingsT = TypeVar("FlowSettingsT", bound=FlowSettings)


class _Supervised(BaseSettings):
    """What `ingestion up` tells the programs that it runs: whose they are."""

    model_config = SettingsConfigDict(env_prefix="INGESTION_", extra="ignore", frozen=True)

    stack: Path | None = None


def wrong_settings(error: ValueError) -> str | None:
    """Which settings are wrong, as a sentence without their values; None if `error` is about something else."""
    kinds = {kind.__name__: kind for kind in (Settings, *FlowSettings.__subclasses__())}
    if not isinstance(error, ValidationError) or error.title not in kinds:
        return None
    prefix = kinds[error.title].model_config.get("env_prefix", "")
    return "; ".join(
        f"{prefix}{'_'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}" for wrong in error.errors()
    )


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read once."""
    given = Settings()  # pyright: ignore[reportCallIssue]
    home = given.home.expanduser().absolute()
    # A program of the stack has what it needs; the file has the secrets of all of them.
    own = _Supervised().stack is not None
    settings = given if own else Settings(_env_file=home / STACK_ENV_FILE)  # pyright: ignore[reportCallIssue]
    return settings.model_copy(update={"home": home})


def load_flow_settings(kind: type[FlowSettingsT]) -> FlowSettingsT:
    """A flow's own settings, from where ours come from, read once."""
    settings: Any = read_flow_settings(kind)  # `lru_cache` forgets which kind it is
    return settings


@lru_cache(maxsize=64)
def read_flow_settings(kind: type[FlowSettings]) -> FlowSettings:
    """What `load_flow_settings` gives, without its type."""
    own = _Supervised().stack is not None
    return kind() if own else kind(_env_file=load_settings().home / STACK_ENV_FILE)  # pyright: ignore[reportCallIssue]


def secrets_of_flows() -> set[str]:
    """The variables that hold a secret among the settings of the flows that are loaded."""
    return {
        f"{kind.model_config.get('env_prefix', '')}{name.upper()}"
        for kind in FlowSettings.__subclasses__()
        for name, field in kind.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    }
