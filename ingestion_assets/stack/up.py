"""Bringing a stack up, watching it and taking it down, in the one process that owns the home's lock."""

import contextlib
import os
import pwd
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import yaml

from ingestion_assets.settings import Settings
from ingestion_assets.stack.environment_file import write_environment
from ingestion_assets.stack.failures import explained, log_end, not_yaml
from ingestion_assets.stack.home_lock import locked
from ingestion_assets.stack.leftovers import end_leftovers
from ingestion_assets.stack.own_locations import port_names, write_workspace
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import (
    PORT_NAMES,
    StackPlan,
    child_environment,
    install_dagster_configuration,
    plan_stack,
    stop_order,
    workers_of,
)
from ingestion_assets.stack.ports import choose_ports, require_free
from ingestion_assets.stack.program_logs import LogRelay, last_lines
from ingestion_assets.stack.program_secrets import withheld
from ingestion_assets.stack.readiness import program_probes, store_probes
from ingestion_assets.stack.ready_file import Show, announce
from ingestion_assets.stack.stop_signals import stop_signals
from ingestion_assets.stack.supervision import Group, ProgramState, Supervisor, configuration, without
from ingestion_assets.stores.durable_files import write_private
from ingestion_assets.stores.privileges import bound_to_parent

START_TIMEOUT_S = 180.0
_LOOK_S = 0.1
_WATCH_S = 1.0
_STARTS_BEFORE_GIVING_UP = 3


class StackError(Exception):
    """The stack cannot start or go on; the text says why and what to do."""


class _Stopped(Exception):  # noqa: N818
    """A signal asked for the end."""


def run_stack(*, settings: Settings, show: Show) -> None:
    """Run the stack in `settings.home` until SIGINT or SIGTERM. Call it from the main thread.

    Raises:
        AlreadyRunningError: another stack runs in this home.
        StackError: a part does not start.
        PortTaken: a port of the settings is in use.
        OSError, LookupError, ImportError: the home cannot be used, or a server is not installed.
    """
    began = time.monotonic()
    places = Places(settings.home)
    places.create()
    with locked(places), stop_signals() as stopping:
        ended = end_leftovers(places.home)
        if ended:
            show("stack", f"ended {ended} processes that an earlier stack left behind")
        places.ready.unlink(missing_ok=True)
        require_free(
            {"INGESTION_PORT": settings.port, "INGESTION_WEBSERVER_PORT": settings.webserver_port},
            host=settings.host,
        )
        try:
            ports = choose_ports(places.remembered, [*PORT_NAMES, *port_names(settings)])
            plan = plan_stack(
                settings=settings, places=places, ports=ports, admin_token=_admin_token(settings, places)
            )
        except yaml.YAMLError as error:
            raise StackError(not_yaml(places.dagster_home / "dagster.yaml", error)) from None
        install_dagster_configuration(settings, places)
        write_workspace(places, settings=settings, ports=ports)
        places.unloadable.unlink(missing_ok=True)
        running = SupervisedStack(plan=plan, places=places, settings=settings, show=show, stopping=stopping)
        try:
            running.start()
            announce(places.ready, addresses=plan.addresses, seconds=time.monotonic() - began, show=show)
            running.watch()
        except _Stopped:
            pass
        finally:
            places.ready.unlink(missing_ok=True)
            running.stop()


class SupervisedStack:
    """supervisord and what it runs."""

    def __init__(
        self, *, plan: StackPlan, places: Places, settings: Settings, show: Show, stopping: threading.Event
    ) -> None:
        self._plan, self._places, self._settings = plan, places, settings
        self._show, self._stopping = show, stopping
        self._supervisor = Supervisor(places.supervisor_socket)
        self._programs = {program.name: program for program in plan.programs}
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        names = [*self._programs, "migrations"]
        self._relay = LogRelay({name: places.logs / f"{name}.log" for name in names}, show)
        self._seen: dict[str, ProgramState] = {}
        self._starts: dict[str, set[int]] = {}

    def launch(self) -> None:
        """Begin supervisord, which starts nothing by itself."""
        write_environment(self._places.environment, self._plan.environment)
        self._relay.start()
        self._process = self._launch_supervisord()

    def start(self) -> None:
        """Start everything, and wait until all of it answers."""
        self.launch()
        with ThreadPoolExecutor(max_workers=4) as preparing:
            # PostgreSQL's first initialisation takes seconds, in which supervisord comes up.
            prepared = {server.name: preparing.submit(server.prepare) for server in self._plan.servers}
            self._wait({"supervisord": self._supervisor.answers})
            for name, preparation in prepared.items():
                try:
                    preparation.result()
                except (OSError, RuntimeError) as error:
                    raise StackError(f"{name} cannot be prepared: {explained(error)}") from error
                self._begin(name)
        # Their interpreters start while the servers do.
        self._begin("code-server")
        stores = store_probes(self._plan)
        self._wait({"PostgreSQL": stores.pop("PostgreSQL")})
        migrations = self._launch("migrations", "ingestion_assets.stack.migrations")
        self._wait({"migrations": lambda: migrations.poll() is not None, **stores})
        if migrations.returncode != 0:
            raise StackError(self._with_log("the database could not be migrated", "migrations"))
        for program in self._plan.programs:
            if program.group != "stores":
                self._begin(program.name)
        self._wait(
            program_probes(
                settings=self._settings,
                plan=self._plan,
                workers=workers_of(self._settings, self._places),
                pid_of=lambda name: self._seen[name].pid,
            )
        )

    def watch(self) -> None:
        """Report restarts until asked to stop; supervisord does the restarting.

        Raises:
            StackError: supervisord itself ended.
        """
        while True:
            self._look()
            for state in self._seen.values():
                if state.state == "FATAL":  # supervisord has given up; we do not
                    try:
                        self._supervisor.start(self._programs[state.name])
                    except (OSError, RuntimeError) as error:  # the next look tries again
                        self._show("stack", f"{state.name} cannot be started: {error}")
            if self._stopping.wait(_WATCH_S):
                raise _Stopped

    def stop(self) -> None:
        """Stop everything, dependents first; nothing is left running."""
        began = time.monotonic()
        order = stop_order(self._plan.programs)
        self._show("stack", "stopping")
        for child in self._children:
            child.kill()
            child.wait()
        over = began
        try:
            for group, seconds in order:
                self._stop_group(group, until=began + seconds)
            self._supervisor.shutdown()
        except (OSError, RuntimeError):
            # Gone, not up yet, or stopping all by itself: systemd signals everybody.
            over = began + order[-1][1]
            if self._process is not None:
                self._process.terminate()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=max(1.0, over - time.monotonic()))
        end_leftovers(self._places.home, patience_s=0.5)
        if self._process is not None:
            self._process.wait()
        self._places.environment.unlink(missing_ok=True)
        self._relay.close()
        self._show("stack", "stopped")

    def _begin(self, name: str) -> None:
        try:
            self._supervisor.start(self._programs[name])
        except (OSError, RuntimeError) as error:
            if self._stopping.is_set():
                raise _Stopped from error
            raise StackError(self._with_log(f"{name} cannot be started: {error}", name)) from error

    def _stop_group(self, group: Group, *, until: float) -> None:
        self._supervisor.stop_group(group)
        while time.monotonic() < until:
            states = [state for state in self._supervisor.states() if state.group == group]
            if all(state.pid == 0 for state in states):
                return
            time.sleep(_LOOK_S)

    def _launch_supervisord(self) -> subprocess.Popen[bytes]:
        text = configuration(
            self._plan.programs, socket_path=self._places.supervisor_socket, folder=self._places.run,
            logs=self._places.logs, user=pwd.getpwuid(0).pw_name if os.geteuid() == 0 else None,
        )  # fmt: skip
        self._places.supervisor_configuration.write_text(text, encoding="utf-8")
        self._places.supervisor_socket.unlink(missing_ok=True)
        command = (
            sys.executable, "-m", "supervisor.supervisord", "-c", str(self._places.supervisor_configuration)
        )  # fmt: skip
        return self._spawn(bound_to_parent(command, signal="TERM"), log="supervisord")

    def _launch(self, name: str, module: str) -> subprocess.Popen[bytes]:
        """Run `module` to its end beside the supervised programs."""
        command = without(
            withheld(name, child_environment(self._plan)),
            bound_to_parent((sys.executable, "-m", module), signal="KILL"),
        )
        child = self._spawn(command, log=name)
        self._children.append(child)
        return child

    def _spawn(self, command: tuple[str, ...], *, log: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal reaches only us, and we stop things in order.
        with (self._places.logs / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                command, cwd=self._places.run, env=child_environment(self._plan), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _wait(self, conditions: Mapping[str, Callable[[], bool]]) -> None:
        """Return once all conditions have held."""
        deadline = time.monotonic() + START_TIMEOUT_S
        missing = dict(conditions)
        while True:
            self._look()
            # One at a time: asking takes from the processor what the programs need to start.
            while missing and next(iter(missing.values()))():
                del missing[next(iter(missing))]
            if not missing:
                return
            if self._stopping.wait(_LOOK_S):
                raise _Stopped
            if time.monotonic() > deadline:
                silent = [name for name, holds in missing.items() if not holds()]
                raise StackError(
                    f"not ready after {START_TIMEOUT_S:.0f} s: {', '.join(silent)}; see {self._places.logs}"
                )

    def _look(self) -> None:
        """Take notice of what became of the programs."""
        if self._process is not None and self._process.poll() is not None:
            raise StackError(self._with_log(f"supervisord ended ({self._process.returncode})", "supervisord"))
        try:
            states = self._supervisor.states()
        except OSError:  # not up yet, or just gone: the next look tells
            return
        for state in states:
            before = self._seen.get(state.name)
            if before and before.pid and before.pid != state.pid:
                self._show("stack", f"{state.name} ended and is started again ({state.description})")
            self._seen[state.name] = state
            starts = self._starts.setdefault(state.name, set())
            starts.update({state.pid} - {0})
            if not self._places.ready.exists() and len(starts) > _STARTS_BEFORE_GIVING_UP:
                raise StackError(self._with_log(f"{state.name} does not start", state.name))

    def _with_log(self, text: str, name: str) -> str:
        path = self._places.logs / f"{name}.log"
        return log_end(text, path, last_lines(path, 15))


def _admin_token(settings: Settings, places: Places) -> str:
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    if not places.admin_token.exists():
        write_private(places.admin_token, secrets.token_urlsafe(32) + "\n")
    return places.admin_token.read_text(encoding="ascii").strip()
