"""An S3 server for tests: moto's, in a process of its own, with one bucket."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ingestion_assets.stores.embedded import free_port
from ingestion_assets.stores.privileges import bound_to_parent
from ingestion_assets_tests.servers import wait_until

BUCKET = "landing"


@dataclass(frozen=True, slots=True)
class S3Server:
    """`environment` is what clients need to find it."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }  # fmt: skip

    def lists(self) -> int:
        """The LIST requests so far."""
        return self.log.read_text(encoding="utf-8").count("list-type=2")

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    @contextmanager
    def answering_slowly(self, *, seconds: float) -> Iterator[None]:
        """It stands still for so many seconds, again and again, and goes on between for as long as some answers take."""
        over = threading.Event()

        def stand_still() -> None:
            while not over.wait(0.1):
                with self.standing_still():
                    over.wait(seconds)

        thread = threading.Thread(target=stand_still)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def make_bucket(self) -> None:
        httpx.put(f"{self.url}/{BUCKET}").raise_for_status()

    def wipe(self) -> None:
        """The bucket and all in it are gone."""
        httpx.post(f"{self.url}/moto-api/reset").raise_for_status()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server within the block; its log lies in `folder`."""
    port = free_port()
    log = folder / "s3.log"
    command = (sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port))
    with log.open("wb") as output:
        process = subprocess.Popen(bound_to_parent(command, signal="KILL"), stdout=output, stderr=output)
    try:
        server = S3Server(f"http://127.0.0.1:{port}", process, log)
        wait_until(lambda: _answers(server.url), seconds=60, what="the S3 server")
        server.make_bucket()
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/data.json", timeout=5).is_success
    except httpx.HTTPError:
        return False
