"""The process manager (supervisord): its configuration as text, and talking to it."""

import http.client
import shlex
import shutil
import socket
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Group = Literal["stores", "dagster", "frontdoor"]
# supervisord stops the groups one after the other, highest priority first.
_PRIORITIES: dict[Group, int] = {"stores": 100, "dagster": 200, "frontdoor": 300}

_SHUTDOWN_STATE = 6  # the fault that answers every call from then on


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised process. `stop_s`: seconds between `stop_signal` and SIGKILL to its whole group."""

    name: str
    group: Group
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    withheld: Sequence[str] = ()
    """Names of variables of supervisord's own environment that it does not get."""
    stop_signal: str = "TERM"
    stop_s: int = 4
    stop_whole_group: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramState:
    """What supervisord says of one program."""

    name: str
    group: str
    state: str
    pid: int
    since: int
    description: str


def configuration(
    programs: Sequence[Program], *, socket_path: Path, folder: Path, logs: Path, user: str | None
) -> str:
    """The text of `supervisord.conf`. `folder` takes its pid file, `logs` the rotated log of each program."""
    lines = [
        "; Written anew by each `ingestion up`.",
        "[supervisord]",
        "nodaemon = true",
        "silent = true",
        f"pidfile = {_literal(folder / 'supervisord.pid')}",
        f"logfile = {_literal(logs / 'supervisord.log')}",
        "logfile_maxbytes = 2MB",
        "logfile_backups = 2",
        *([f"user = {_literal(user)}"] if user else []),
        "[unix_http_server]",
        f"file = {_literal(socket_path)}",
        "chmod = 0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        lines += [
            f"[program:{program.name}]",
            f"command = {_literal(shlex.join(without(program.withheld, program.command)))}",
            f"directory = {_literal(program.folder)}",
            *([f"environment = {_environment(program.environment)}"] if program.environment else []),
            "autostart = false",
            "autorestart = true",
            # A program that ends within its first 2 s is tried again after 1, 2, 3… s.
            "startsecs = 2",
            "startretries = 20",
            f"stopsignal = {program.stop_signal}",
            f"stopwaitsecs = {program.stop_s}",
            f"stopasgroup = {str(program.stop_whole_group).lower()}",
            "killasgroup = true",
            f"stdout_logfile = {_literal(logs / program.name)}.log",
            "redirect_stderr = true",
            "stdout_logfile_maxbytes = 10MB",
            "stdout_logfile_backups = 3",
        ]
    for group, priority in _PRIORITIES.items():
        members = [program.name for program in programs if program.group == group]
        if members:
            lines += [f"[group:{group}]", f"programs = {','.join(members)}", f"priority = {priority}"]
    return "\n".join(lines) + "\n"


def without(names: Sequence[str], command: Sequence[str]) -> tuple[str, ...]:
    """`command`, run without the variables `names`."""
    if not names:
        return tuple(command)
    return (
        shutil.which("env") or "/usr/bin/env",
        *(part for name in names for part in ("-u", name)),
        *command,
    )


class Supervisor:
    """A running supervisord, reached over its unix socket.

    Every call raises OSError when it is gone or about to go, RuntimeError when it refuses.
    """

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def start(self, program: Program) -> None:
        """Start `program`; does nothing if it already runs."""
        try:
            self.call("startProcess", f"{program.group}:{program.name}", False)
        except RuntimeError as error:
            if "ALREADY_STARTED" not in str(error):
                raise

    def stop_group(self, group: Group) -> None:
        """Tell the programs of `group` to stop, without waiting."""
        try:
            self.call("stopProcessGroup", group, False)
        except RuntimeError as error:
            if "BAD_NAME" not in str(error):
                raise

    def states(self) -> list[ProgramState]:
        """The state of every program."""
        return [
            ProgramState(
                name=info["name"], group=info["group"], state=info["statename"], pid=info["pid"],
                since=info["start"], description=info["description"],
            )
            for info in self.call("getAllProcessInfo")
        ]  # fmt: skip

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self.call("getState")["statename"] == "RUNNING"
        except OSError:
            return False

    def shutdown(self) -> None:
        """Tell it to stop what still runs and to end."""
        self.call("shutdown")

    def call(self, method: str, *arguments: object) -> Any:
        """The answer of a method of supervisord's XML-RPC interface."""
        transport = _UnixTransport(self._socket_path)
        proxy = xmlrpc.client.ServerProxy("http://supervisor", transport=transport, allow_none=True)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except http.client.HTTPException as error:
            raise ConnectionError(f"supervisord does not answer: {error!r}") from error
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTDOWN_STATE:
                raise ConnectionError("supervisord is stopping") from fault
            raise RuntimeError(f"supervisord: {fault.faultString}") from fault
        finally:
            transport.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> _UnixConnection:  # noqa: ARG002
        return _UnixConnection(self._path)


def _literal(value: object) -> str:
    """`value` as supervisord's configuration takes it: it expands `%(…)s`."""
    return str(value).replace("%", "%%")


def _environment(values: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_literal(value)}"' for name, value in values.items())
