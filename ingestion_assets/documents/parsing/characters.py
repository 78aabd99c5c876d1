"""Characters that a text must not have, or that stand for others."""

import re
import unicodedata

REPLACEMENT = "\ufffd"
_REFUSED = re.compile("[\0\ud800-\udfff]")
_FORMS = re.compile("[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc]+")
_HYPHEN = re.compile("(?<=[^\\W\\d_A-Z])\ufffe(?=[^\\W\\d_A-Z])")


def storable(text: str) -> tuple[str, int]:
    """The text with NULs and lone surrogates, which PostgreSQL and UTF-8 refuse, replaced; and how many there were."""
    return _REFUSED.subn(REPLACEMENT, text)


def lines(text: str) -> str:
    """Every line ends with one newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def letters(text: str) -> str:
    """Ligatures and presentation forms, Arabic ones among them, as the letters they stand for."""
    return _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def whole_words(text: str) -> str:
    """Words that a line's end broke put together: U+FFFE is pdfium's mark for the hyphen there."""
    return _HYPHEN.sub("", text).replace("\ufffe", "-")
