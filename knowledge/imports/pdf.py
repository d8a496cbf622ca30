"""PDF: the text of each page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from knowledge.imports.limits import Limits
from knowledge.imports.refusal import Refused
from knowledge.imports.text import Draft, stem, tidy_title


def read(path: str, name: str, limits: Limits) -> Iterator[Draft]:
    """One draft, pages parted by blank lines, their number in the metadata."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        reason = str(error).lower()
        if "password" in reason or "security" in reason:
            raise Refused("The PDF is encrypted; remove its password first.") from error
        raise Refused("The PDF is damaged and cannot be opened.") from error
    with document:
        count = len(document)
        if count > limits.pages:
            raise Refused(f"The PDF has {count} pages; at most {limits.pages} are read.")
        content = _text(document, count, limits)
        title = tidy_title(document.get_metadata_dict().get("Title"), limits.title_chars)
    if not content:
        raise Refused("The PDF holds no text; it is probably scanned pictures.")
    yield {"title": title or stem(name), "content": content, "metadata": {"pages": count}}


def _text(document: Any, count: int, limits: Limits) -> str:
    found: list[str] = []
    for number in range(count):
        page = document[number]
        try:
            text = page.get_textpage()
            found.append(
                text.get_text_bounded().replace("\r\n", "\n").replace("\x00", "").replace("\ufffe", "-").strip()
            )
            text.close()
        finally:
            page.close()
        if sum(map(len, found)) > limits.unpacked_bytes:
            raise Refused("The PDF holds more text than is read.")
    return "\n\n".join(page for page in found if page)
