"""A whole stack in the folder of a user's own project, with every secret that can be given."""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.stack.shop_project import Shop
from ingestion_assets_tests.stacks import RunningStack, running_stack

PASSWORD = "sesame-open"


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[RunningStack]:
    """Started in the project's folder, which says by its pyproject.toml what to run."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    given = {"secret_keys": "k" * 40, "api_key": "the-own-key", "webserver_password": PASSWORD,
             "notify_url": "http://127.0.0.1:9/notified", "embedding_endpoints": "[]",
             "secret_key": "o" * 32, "dagster_headers": '{"X-Proxy": "the-proxy"}',
             "kafka_url": "kafka://127.0.0.1:9?sasl.password=the-broker"}  # fmt: skip
    with running_stack(home, folder=shop.folder, workers_gpu=1, **given) as running:
        yield running
