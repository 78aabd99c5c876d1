"""The authorities that servers which we call are checked by."""

import ssl
from functools import cache

import httpx


@cache
def tls_context() -> ssl.SSLContext:
    """One a process, for clients that are made for a call: reading all authorities takes 50 ms of a processor."""
    return httpx.create_ssl_context()
