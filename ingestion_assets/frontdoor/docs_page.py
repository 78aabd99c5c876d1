"""The API document as a page to read, without outside help."""

from html import escape
from typing import Any

from starlette.responses import HTMLResponse


def docs_page(document: dict[str, Any]) -> HTMLResponse:
    """The document as one plain page: no scripts, nothing fetched from elsewhere."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style><main>",
        f"<h1>{escape(document['info']['title'])} {escape(document['info']['version'])}</h1>",
        f"<p>{escape(document['info'].get('description', ''))}</p>",
        "<p>Machine-readable: <a href='/openapi.json'>/openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(path, method, operation))
    return HTMLResponse("".join(parts) + "</main></html>")


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td>{escape(str(status))}<td>{escape(answer.get('description', ''))}<td>{escape(', '.join(answer.get('content', {})))}"
        for status, answer in sorted(operation.get("responses", {}).items())
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}"
        f"</summary><p>{escape(operation.get('description', ''))}</p>"
        + (f"<h4>Parameters</h4><table>{rows}</table>" if rows else "")
        + f"<h4>Answers</h4><table>{answers}</table></details>"
    )


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1b1f24;background:#fff}main{max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}details{border-top:1px solid #d0d7de;padding:.6rem 0}summary{cursor:pointer}b{display:inline-block;"
    "min-width:4.5rem}td{padding:.15rem 1rem .15rem 0;vertical-align:top}code{background:#f3f4f6;padding:.1rem .3rem}"
)
