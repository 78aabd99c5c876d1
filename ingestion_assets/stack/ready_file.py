"""The file by which `ingestion up` tells other commands that its stack is ready, and under which addresses."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

Show = Callable[[str, str], None]
"""Shows a line of a program."""


def announce(path: Path, *, addresses: Mapping[str, str], seconds: float, show: Show) -> None:
    """Say that the stack of this process is ready."""
    draft = path.with_suffix(".draft")
    told = {"pid": os.getpid(), "seconds": round(seconds, 1), "addresses": dict(addresses)}
    draft.write_text(json.dumps(told, indent=2), encoding="utf-8")
    draft.replace(path)
    show("stack", f"ready after {seconds:.1f} s")
    for name, address in addresses.items():
        show("stack", f"  {name:<12} {address}")


def ready_stack(path: Path) -> dict | None:
    """What `announce` wrote when the stack was ready; None if it is not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
