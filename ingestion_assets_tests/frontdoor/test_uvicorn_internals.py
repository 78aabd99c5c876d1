"""What is used of uvicorn's insides is still as it was read: an upgrade that changes it fails here and says what to compare."""

import asyncio
import inspect
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from ingestion_assets.frontdoor.uvicorn_internals import (
    HIGH_WATER_LIMIT,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
    WebSocketsSansIOProtocol,
    raise_at_end,
)

OF_A_CYCLE = [
    "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event",
    "expect_100_continue", "keep_alive", "on_response",
]  # fmt: skip


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


def test_a_protocol_has_what_the_guard_uses() -> None:
    async def attributes() -> set[str]:
        config = uvicorn.Config(_app, lifespan="off", log_config=None)
        return set(vars(HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})))

    assert asyncio.run(attributes()) >= {
        "access_logger", "app", "app_state", "client", "connections", "cycle", "flow", "headers", "logger", "loop", "parser",
        "pipeline", "scope", "server_state", "timeout_keep_alive", "transport", "ws_protocol_class",
    }  # fmt: skip
    assert callable(HttpToolsProtocol._start_asgi_task)
    assert callable(HttpToolsProtocol._should_upgrade)


def test_a_websocket_has_what_is_used_of_it() -> None:
    assert "handshake_complete" in inspect.getsource(WebSocketsSansIOProtocol.__init__)
    assert list(inspect.signature(WebSocketsSansIOProtocol).parameters)[:3] == [
        "config",
        "server_state",
        "app_state",
    ]
    assert callable(WebSocketsSansIOProtocol.send)


def test_an_exchange_is_made_and_written_to_as_before() -> None:
    assert list(inspect.signature(RequestResponseCycle).parameters) == OF_A_CYCLE
    cycle = RequestResponseCycle(**dict.fromkeys(OF_A_CYCLE))  # type: ignore[arg-type]
    assert vars(cycle).keys() >= {
        "body", "default_headers", "disconnected", "flow", "keep_alive", "message_event", "more_body", "on_response",
        "response_complete", "response_started", "scope", "transport", "waiting_for_100_continue",
    }  # fmt: skip
    assert cycle.receive.__self__ is cycle


WRITTEN_ANEW: list[tuple[Callable[..., Any], str, str]] = [
    (HttpToolsProtocol.data_received, "GuardedProtocol.data_received", "010a7ae59a5d3b1a"),
    (HttpToolsProtocol.on_headers_complete, "GuardedProtocol.on_headers_complete", "1ea8589acfad92d8"),
    (HttpToolsProtocol.on_body, "GuardedProtocol.on_body", "dba9c32aeba35b6a"),
    (HttpToolsProtocol.on_message_complete, "GuardedProtocol.on_message_complete", "1fbad42dc31fc01f"),
    (HttpToolsProtocol.on_response_complete, "GuardedProtocol.on_response_complete", "64e254f28e389e76"),
    (
        HttpToolsProtocol.handle_websocket_upgrade,
        "GuardedProtocol._go_on_as_websocket",
        "179c4f769386ab89",
    ),
    (RequestResponseCycle.send, "exchange.answer", "abdd8601b326a8da"),
    (RequestResponseCycle.receive, "exchange.arrived_body", "8124ae006be71184"),
]
"""uvicorn's, ours that stands for it or goes round it, and the digest of the source that ours was written after."""


@pytest.mark.parametrize(
    ("theirs", "ours", "digest"), WRITTEN_ANEW, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_written_anew_here_is_unchanged_there(
    theirs: Callable[..., Any], ours: str, digest: str
) -> None:
    found = sha256(inspect.getsource(theirs).encode()).hexdigest()[:16]
    assert found == digest, (
        f"uvicorn {uvicorn.__version__} has another {theirs.__qualname__}: read what is new in it, carry that over to {ours}, "
        f"and write {found} here"
    )


def test_constants_are_what_they_were() -> None:
    assert STATUS_LINE[202] == b"HTTP/1.1 202 Accepted\r\n"
    assert HIGH_WATER_LIMIT == 65536


def test_a_signal_is_raised_again_when_the_server_has_stopped() -> None:
    server = uvicorn.Server(uvicorn.Config(_app))
    raise_at_end(server, 15)
    assert "_captured_signals" in inspect.getsource(uvicorn.Server.capture_signals), (
        "uvicorn keeps the signals that it raises again elsewhere: see `raise_at_end`"
    )
    assert vars(server)["_captured_signals"] == [15]
