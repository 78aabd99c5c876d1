"""Ports are remembered, taken ones replaced, and clashes of settings told."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_assets.stack.ports import PortTaken, choose_ports, remembered_ports, require_free
from ingestion_assets.stores.embedded import free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ports_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    chosen = choose_ports(path, ["postgres", "mongodb"])
    assert len(set(chosen.values())) == 2
    assert choose_ports(path, ["postgres", "mongodb"]) == chosen == remembered_ports(path)


def test_a_port_that_somebody_took_is_replaced_and_the_others_stay(tmp_path: Path, taken_port: int) -> None:
    path = tmp_path / "stack.json"
    other = free_port()
    path.write_text(f'{{"ports": {{"postgres": {taken_port}, "mongodb": {other}}}}}', encoding="utf-8")
    chosen = choose_ports(path, ["postgres", "mongodb"])
    assert chosen["mongodb"] == other
    assert chosen["postgres"] != taken_port
    assert remembered_ports(path) == chosen


@pytest.mark.parametrize("text", ["", "{", "[]", '{"ports": 3}', '{"ports": {"postgres": 99999}}'])
def test_a_damaged_file_is_like_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stack.json"
    path.write_text(text, encoding="utf-8")
    chosen = choose_ports(path, ["postgres"])
    assert chosen == remembered_ports(path)
    assert 0 < chosen["postgres"] <= 65535


def test_a_clash_names_port_and_setting(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=rf"{taken_port}.*INGESTION_PORT"):
        require_free(
            {"INGESTION_PORT": taken_port, "INGESTION_WEBSERVER_PORT": free_port()}, host="127.0.0.1"
        )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_not_said_to_be_in_use(host: str) -> None:
    with pytest.raises(PortTaken, match=f"cannot listen on .*{host}.*INGESTION_HOST"):
        require_free({"INGESTION_PORT": free_port()}, host=host)


def test_two_settings_with_the_same_port() -> None:
    port = free_port()
    with pytest.raises(PortTaken, match="both name port"):
        require_free({"INGESTION_PORT": port, "INGESTION_WEBSERVER_PORT": port}, host="127.0.0.1")
