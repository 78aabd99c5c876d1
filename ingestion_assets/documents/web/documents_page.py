"""The page `/documents`: jobs, their files and failures, and search; it reads and changes nothing.

One file without scripts, styles or fonts of others. It asks for an API key, which stays in its memory and goes with a reload; the
content security policy lets nothing run but the page's own script, and nothing be asked but this front door.
"""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


@cache
def _page() -> tuple[str, str]:
    """The page, and the policy that allows its style and script by their digests."""
    html = (files(__package__) / "documents_page.html").read_text(encoding="utf-8")
    digests = {
        kind: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        for kind, content in _INLINE.findall(html)
    }
    policy = (
        f"default-src 'none'; style-src 'sha256-{digests['style']}'; script-src 'sha256-{digests['script']}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


@router.get("/documents")
async def documents_page() -> Response:
    html, policy = _page()
    headers = {
        "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
    }  # fmt: skip
    return HTMLResponse(html, headers=headers)
