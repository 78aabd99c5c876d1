"""Formulas of office documents (OMML) and of web pages and books (MathML) as LaTeX between dollar signs, or left out."""

import io
import re
import zipfile
from collections.abc import Callable

from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue] - compiled, without types

_OMML = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MOST_BYTES = 2**27
_XML = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
_WRAPS: dict[str, tuple[str, ...]] = {
    "mfrac": (r"\frac{", "}{", "}"),
    "msqrt": (r"\sqrt{", "}"),
    "msup": ("{", "}^{", "}"),
    "msub": ("{", "}_{", "}"),
    "msubsup": ("{", "}_{", "}^{", "}"),
    "munder": ("{", "}_{", "}"),
    "mover": ("{", "}^{", "}"),
    "munderover": ("{", "}_{", "}^{", "}"),
}


def in_docx(data: bytes, *, keep: bool) -> bytes:
    """A docx with each formula as a run of LaTeX, or without formulas."""
    return rewritten(
        data, lambda name: name == "word/document.xml", b"oMath", lambda part: _without_omml(part, keep=keep)
    )


def in_epub(data: bytes, *, keep: bool) -> bytes:
    """An epub with each formula as LaTeX, or without formulas."""
    changes = lambda part: in_html(part.decode("utf-8", "replace"), keep=keep).encode()  # noqa: E731
    return rewritten(
        data, lambda name: name.lower().endswith((".xhtml", ".html", ".htm", ".xml")), b"<math", changes
    )


def in_html(text: str, *, keep: bool) -> str:
    """A page with each `math` element as LaTeX, or without them."""
    if "<math" not in text:
        return text
    return re.sub(
        r"<math\b.*?</math\s*>",
        lambda found: _escaped(_dollars(found[0])) if keep else "",
        text,
        flags=re.DOTALL,
    )


def _dollars(element: str) -> str:
    latex = _mathml(html.fragment_fromstring(element))
    mark = "$$" if re.match(r"<math[^>]*display\s*=\s*[\"']?block", element) else "$"
    return f"{mark}{latex}{mark}" if latex else ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mathml(node: html.HtmlElement) -> str:
    tag = str(node.tag).rpartition(":")[2]
    if (tex := node.find(".//annotation[@encoding='application/x-tex']")) is not None:
        return " ".join((tex.text or "").split())
    if tag in {"annotation", "annotation-xml"}:
        return ""
    inner = [_mathml(child) for child in node if isinstance(child.tag, str)]
    if tag == "mroot" and len(inner) == 2:
        return rf"\sqrt[{inner[1]}]{{{inner[0]}}}"
    if tag == "mtable":
        return r"\begin{matrix}" + r" \\ ".join(inner) + r"\end{matrix}"
    if tag == "mtr":
        return " & ".join(inner)
    wrap = _WRAPS.get(tag, ())
    if len(wrap) == len(inner) + 1:
        return "".join(mark + part for mark, part in zip(wrap, [*inner, ""], strict=True))
    return (node.text or "").strip() + "".join(inner)


def _without_omml(part: bytes, *, keep: bool) -> bytes:
    from markitdown.converter_utils.docx.math.omml import oMath2Latex  # noqa: PLC0415 - loads all of markitdown

    root = etree.fromstring(part, _XML)
    for formula in list(root.iter(f"{_OMML}oMath")):
        alone = formula.getparent().tag == f"{_OMML}oMathPara"
        if keep:
            run = etree.Element(f"{_WORD}r")
            etree.SubElement(run, f"{_WORD}t").text = _latex(oMath2Latex, formula, "$$" if alone else "$")
            (formula.getparent() if alone else formula).addprevious(run)
    for formula in list(root.iter(f"{_OMML}oMath", f"{_OMML}oMathPara")):
        formula.getparent().remove(formula)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True)


def _latex(converter: Callable[[etree._Element], object], formula: etree._Element, mark: str) -> str:
    try:
        latex = str(getattr(converter(formula), "latex", ""))
    except Exception:
        latex = "".join(formula.itertext())
    return f"{mark}{' '.join(latex.split())}{mark}"


def rewritten(
    data: bytes, wanted: Callable[[str], bool], needs: bytes, change: Callable[[bytes], bytes]
) -> bytes:
    """The archive with the members changed that have `needs` in them; as it is where there are none, or where it is a bomb."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = source.infolist()
        if sum(member.file_size for member in members) > MOST_BYTES:
            return data
        changed = {
            one.filename: change(part)
            for one in members
            if wanted(one.filename) and needs in (part := source.read(one))
        }
        if not changed:
            return data
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as target:
            for member in members:
                target.writestr(
                    member, changed[member.filename] if member.filename in changed else source.read(member)
                )
    return written.getvalue()
