"""Word documents, by way of HTML."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Final
from xml.parsers.expat import ExpatError
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler

from defusedxml import DefusedXmlException, sax

from knowledge.imports import html
from knowledge.imports.archive import checked_members, chunks, opened
from knowledge.imports.limits import Limits
from knowledge.imports.markdown import heading
from knowledge.imports.refusal import Refused
from knowledge.imports.text import Draft, stem, tidy_title

_XML: Final = (".xml", ".rels")
_DEPTH: Final = 200


class _Handler(ContentHandler):
    """Finds the document's title and refuses what is nested absurdly, which would exhaust mammoth's stack."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.inside, self.title = 0, False, ""

    def startElement(self, name: str, attrs: object) -> None:  # noqa: N802 (SAX's name)
        self.depth += 1
        self.inside = name == "dc:title"
        if self.depth > _DEPTH:
            raise Refused("The document is nested too deeply.")

    def endElement(self, name: str) -> None:  # noqa: N802
        self.depth -= 1
        self.inside = False

    def characters(self, content: str) -> None:
        if self.inside:
            self.title += content


def read(path: str, name: str, limits: Limits) -> Iterator[Draft]:
    """One draft."""
    import mammoth

    clean, title = _without_dangers(path, limits)
    try:
        result = mammoth.convert_to_html(clean, convert_image=lambda image: [], include_embedded_style_map=False)
    except RecursionError as error:
        raise Refused("The document is nested too deeply.") from error
    except (KeyError, ValueError, AttributeError, IndexError, OSError, SAXException, ExpatError) as error:
        raise Refused("The Word document is damaged and cannot be read.") from error
    content = html.from_fragment(result.value)
    if not content:
        raise Refused("The document holds no text.")
    title = tidy_title(title, limits.title_chars)
    yield {"title": title or heading(content, limits.title_chars) or stem(name), "content": content}


def _without_dangers(path: str, limits: Limits) -> tuple[io.BytesIO, str]:
    """A copy with the XML parts only, each parsed once without declarations of types or entities; and the title."""
    copy, title, left = io.BytesIO(), "", limits.unpacked_bytes
    with opened(path) as source, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
        members = [member for member in checked_members(source, limits) if member.filename.lower().endswith(_XML)]
        if not any(member.filename == "word/document.xml" for member in members):
            raise Refused("The name says that this is a Word document, but the content is another kind of zip archive.")
        for member in members:
            data = b"".join(chunks(source, member, left, limits))
            left -= len(data)
            found = _checked_xml(member.filename, data)
            title = found if member.filename == "docProps/core.xml" else title
            target.writestr(member.filename, data)
    copy.seek(0)
    return copy, title


def _checked_xml(name: str, data: bytes) -> str:
    handler = _Handler()
    try:
        sax.parseString(data, handler, forbid_dtd=True)
    except DefusedXmlException as error:
        raise Refused(
            f"{name!a} in the document declares XML types or entities, which is how attacks look; it is not read."
        ) from error
    except (SAXParseException, ValueError, LookupError) as error:
        raise Refused(f"{name!a} in the document is not XML that can be read.") from error
    return handler.title
