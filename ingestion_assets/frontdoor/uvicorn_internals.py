"""All that is used of uvicorn beyond what it documents: the front door's tests say what of it an upgrade has changed."""

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = [
    "HIGH_WATER_LIMIT",
    "STATUS_LINE",
    "HttpToolsProtocol",
    "RequestResponseCycle",
    "WebSocketsSansIOProtocol",
    "raise_at_end",
]


def raise_at_end(server: uvicorn.Server, sig: int) -> None:
    """Have the process end by this signal, as it would have without the server, once that has stopped."""
    server._captured_signals.append(sig)  # pyright: ignore[reportPrivateUsage]
