"""A mail: who wrote what to whom, its text, and the names of its attachments. Attached texts and mails are read, other files are not."""

import html
import re
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import MIMEPart
from email.parser import Parser
from typing import cast

from ingestion_assets.documents.parsing import encodings, office
from ingestion_assets.documents.parsing.kinds import MIMES
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_WIDE = {"utf_16", "utf_32"}
MOST_DEPTH = 20
_NOT_BASE64 = re.compile(
    r"^.*[^A-Za-z0-9+/=\s].*$", re.MULTILINE
)  # words that a program left among the lines of an encoded part
_PRINTABLE = re.compile(r"[\t\r\n -~]+")


def read(task: Task, text: str, encoding: str) -> Reading:
    """`text` is the mail decoded, which only one in UTF-16 is: parts of others have encodings of their own."""
    if encoding in _WIDE:
        mail = Parser(policy=policy.default).parsestr(text)
    else:
        mail = message_from_bytes(task.data, policy=policy.default)
    parts = "\n\n".join(filter(None, (part.strip() for part in _parts(task, cast("MIMEPart", mail), 0))))
    return Reading(mime=MIMES["eml"], pages=[PageText(parts, "email")], encoding=encoding)


def _parts(task: Task, mail: MIMEPart, depth: int) -> Iterator[str]:
    yield "\n".join(f"{name}: {value}" for name in _HEADERS if (value := _header(mail, name)))
    yield from _body(task, mail, depth)


def _body(task: Task, part: MIMEPart, depth: int) -> Iterator[str]:
    kind = part.get_content_type()
    if depth > MOST_DEPTH:
        task.warn("too_deep", f"Mails inside of mails were read {MOST_DEPTH} deep.")
    elif kind == "message/rfc822":
        for inner in part.iter_parts() if part.is_multipart() else ():
            yield from _parts(task, inner, depth + 1)
    elif part.is_multipart():
        inner = list(part.iter_parts())
        if kind == "multipart/alternative":
            readable = [
                one for one in inner if one.get_content_type() == "text/plain" and _text(task, one).strip()
            ]
            inner = readable[:1] or inner[-1:]
        for one in inner:
            yield from _body(task, one, depth + 1)
    else:
        name = _name(part)
        if name:
            yield f"Attachment: {name}"
        if kind.startswith("text/"):
            yield _text(task, part)
        elif part.get("Content-Transfer-Encoding", "").strip().lower() == "base64":
            yield "\n".join(_NOT_BASE64.findall(str(part.get_payload())))
        elif (
            not name
            and kind.startswith("application/")
            and _PRINTABLE.fullmatch(raw := str(part.get_payload()))
        ):
            yield raw


def _text(task: Task, part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return str(part.get_payload())
    text = ""
    with suppress(LookupError, UnicodeDecodeError):
        text = data.decode(part.get_content_charset() or "utf-8")
    text = text or (encodings.decode(data)[0] if data.strip() else "")
    return office.html_text(task, text) if part.get_content_type() == "text/html" else html.unescape(text)


def _header(mail: MIMEPart, name: str) -> str:
    try:
        value = str(mail[name] or "")
    except Exception:
        value = next((str(raw) for key, raw in mail.raw_items() if key.lower() == name.lower()), "")
    return re.sub(r"\s+", " ", value).strip()


def _name(part: MIMEPart) -> str:
    with suppress(Exception):
        return " ".join((part.get_filename() or "").split())
    return ""
