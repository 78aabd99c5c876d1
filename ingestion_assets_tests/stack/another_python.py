"""A virtual environment of somebody else's: our packages, but another version of pandas."""

import subprocess
import sys
import sysconfig
from pathlib import Path


def another_python(folder: Path, *, without: str = "pandas") -> Path:
    """The interpreter of a new environment in `folder`, whose `without` is older than ours."""
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", str(folder)), check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")
    other = f"{without}<{_major(without)}"
    subprocess.run(
        (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), other),
        check=True,
    )
    return folder / "bin" / "python"


def _major(package: str) -> str:
    from importlib.metadata import version  # noqa: PLC0415

    return version(package).partition(".")[0]
