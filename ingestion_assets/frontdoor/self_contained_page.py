"""A page of one file: no script, style or font but its own, nothing asked but this front door. Its policy names them by their digests."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from starlette.responses import HTMLResponse, Response

_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def page_response(package: str, name: str) -> Response:
    """The file `name` of `package` as an answer."""
    html, policy = _page(package, name)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


@cache
def _page(package: str, name: str) -> tuple[str, str]:
    html = (files(package) / name).read_text(encoding="utf-8")
    digests: dict[str, list[str]] = {"style": ["'none'"], "script": ["'none'"]}
    for kind, content in _INLINE.findall(html):
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
        digests[kind] = [one for one in digests[kind] if one != "'none'"] + [allowed]
    policy = (
        f"default-src 'none'; style-src {' '.join(digests['style'])}; script-src {' '.join(digests['script'])}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy
