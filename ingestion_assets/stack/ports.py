"""Ports: those of the embedded servers are chosen once and remembered, those of the settings must be free."""

import errno
import json
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingestion_assets.stores.durable_files import write_durably
from ingestion_assets.stores.embedded import LOOPBACK

# Below what Linux and macOS hand out to outgoing connections, so that a remembered port stays free.
_RANGE = range(20000, 30000)


class PortTaken(Exception):  # noqa: N818
    """A port that the settings name cannot be listened on; as a rule it is in use."""


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `host`:`port` now."""
    return _in_the_way(port, host) is None


def _in_the_way(port: int, host: str) -> Exception | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except (OSError, OverflowError) as error:
            return error
    return None


def require_free(ports: Mapping[str, int], *, host: str) -> None:
    """Check the ports that settings name, by setting.

    Raises:
        PortTaken: one is in use, or cannot be listened on at all, or two settings name the same.
    """
    for setting, port in ports.items():
        twins = [other for other, value in ports.items() if value == port and other != setting]
        if twins:
            raise PortTaken(f"{setting} and {twins[0]} both name port {port}; set one of them to another.")
        error = _in_the_way(port, host)
        if isinstance(error, OSError) and error.errno != errno.EADDRINUSE:
            raise PortTaken(
                f"cannot listen on port {port} of {host} ({setting}, INGESTION_HOST): {error.strerror}"
            )
        if error is not None:
            raise PortTaken(
                f"port {port} on {host} ({setting}) is in use by another program; "
                f"stop that, or choose another port: {setting}=… ingestion up"
            )


def remembered_ports(path: Path) -> dict[str, int]:
    """The ports that `choose_ports` wrote to `path`; none if that never happened."""
    try:
        return {
            str(name): int(port)
            for name, port in json.loads(path.read_text(encoding="utf-8"))["ports"].items()
        }
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def choose_ports(path: Path, names: Sequence[str]) -> dict[str, int]:
    """A port for each of `names`: the one remembered in `path` if it is free, else a new one, remembered."""
    known = remembered_ports(path)
    chosen: dict[str, int] = {}
    for name in names:
        port = known.get(name)
        while port is None or port in chosen.values() or not is_free(port):
            port = random.choice(_RANGE)  # noqa: S311
        chosen[name] = port
    if chosen != known:
        write_durably(path, json.dumps({"ports": known | chosen}, indent=2) + "\n")
    return chosen
