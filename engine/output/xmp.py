"""XMP packets: the keywords (`dc:subject`) of a picture, in a packet of its own or put into one that is there.

A packet that is there is not written anew: the keywords are put into its text, and all else keeps its bytes. The form
is Adobe's XMP Specification, parts 1 and 3 (ISO 16684-1).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BEGIN = "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>\n"
_END = "\n<?xpacket end='w'?>"


class Unsafe(Exception):
    """A picture or packet into which nothing is safely written; `str(error)` says why, for the end of a sentence."""


def packet(keywords: Sequence[str]) -> bytes:
    """A packet that holds these keywords alone, UTF-8."""
    body = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">{_description("", keywords)}</rdf:RDF>'
    return (_BEGIN + body + "</x:xmpmeta>" + _END).encode()


def with_keywords(old: bytes, keywords: Sequence[str], *, replace: bool) -> bytes:
    """The packet with these keywords added to its own, or in place of them; all else keeps its bytes.

    Raises:
        Unsafe: the packet is no UTF-8, no XML, or has its keywords in a form that is not ours to change.
    """
    found = _read(old)
    wanted = list(dict.fromkeys([*([] if replace else found.keywords), *map(_clean, keywords)]))
    if wanted == found.keywords:
        return old
    new = _description(found.about, wanted).encode()
    if found.subject:
        begin, end = found.subject
        new = old[:begin] + _subject(wanted, declared=True).encode() + old[end:]
    else:
        new = old[: found.rdf_end] + new + old[found.rdf_end :]
    if _read(new).keywords != wanted:
        raise Unsafe("its XMP has keywords in an unusual form")
    return new


def keywords_of(data: bytes) -> list[str]:
    """The keywords in a packet. Raises `Unsafe`."""
    return _read(data).keywords


def _description(about: str, keywords: Sequence[str]) -> str:
    return (
        f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(about)}>'
        f"{_subject(keywords, declared=False)}</rdf:Description>"
    )


def _subject(keywords: Sequence[str], *, declared: bool) -> str:
    """`declared`: the element says by itself what `rdf` is, because around it the prefix may be another."""
    rdf = f' xmlns:rdf="{_RDF}"' if declared else ""
    items = "".join(f"<rdf:li>{escape(_clean(keyword))}</rdf:li>" for keyword in keywords)
    return f'<dc:subject xmlns:dc="{_DC}"{rdf}><rdf:Bag>{items}</rdf:Bag></dc:subject>'


def _clean(text: str) -> str:
    """What XML can hold."""
    return _NOT_XML.sub("\ufffd", text)


@dataclass
class _Found:
    """Of a packet: its keywords, the bytes from `<dc:subject` to its end, where `</rdf:RDF` begins, and `rdf:about`."""

    keywords: list[str] = field(default_factory=list)
    subject: tuple[int, int] | None = None
    rdf_end: int = -1
    about: str = ""


class _Reader:
    """Walks a packet. Elements are named by namespace and name."""

    def __init__(self, data: bytes) -> None:
        self.found = _Found()
        self._data = data
        self._path: list[str] = []
        self._begin = 0
        self._text: list[str] | None = None
        self.parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _refuse(self, *_: object) -> None:
        raise Unsafe("its XMP has a document type, which no packet has")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if name == f"{_RDF} Description" and len(self._path) >= 2 and self._path[-2] == f"{_RDF} RDF":
            self.found.about = self.found.about or attributes.get(f"{_RDF} about", "")
            if f"{_DC} subject" in attributes:
                raise Unsafe("its XMP has keywords in an unusual form")
        if self._is_subject():
            if self.found.subject:
                raise Unsafe("its XMP has keywords twice")
            self._begin = self.parser.CurrentByteIndex
            self.found.subject = (self._begin, self._begin)
        if name == f"{_RDF} li" and f"{_DC} subject" in self._path:
            self._text = []

    def _end(self, name: str) -> None:
        if self._text is not None and name == f"{_RDF} li":
            self.found.keywords.append("".join(self._text))
            self._text = None
        if self._is_subject():
            self.found.subject = (self._begin, self._tag_end())
        if name == f"{_RDF} RDF":
            self.found.rdf_end = self.parser.CurrentByteIndex
            if self._data[self.found.rdf_end : self.found.rdf_end + 2] != b"</":
                raise Unsafe("its XMP is empty in an unusual form")
        self._path.pop()

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _is_subject(self) -> bool:
        return self._path[-3:] == [f"{_RDF} RDF", f"{_RDF} Description", f"{_DC} subject"]

    def _tag_end(self) -> int:
        """Behind the tag at which the parser is: `</dc:subject>`, which holds no other `>`, or `<dc:subject/>`."""
        at = self.parser.CurrentByteIndex
        if self._data[at : at + 2] == b"</":
            return self._data.index(b">", at) + 1
        raise Unsafe("its XMP has keywords in an unusual form")


def _read(data: bytes) -> _Found:
    text = data.rstrip(b"\0")  # some writers pad with them
    reader = _Reader(text)
    try:
        reader.parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as error:
        raise Unsafe(f"its XMP is no XML that can be read ({error})") from None
    if reader.found.rdf_end < 0:
        raise Unsafe("its XMP holds no rdf:RDF")
    return reader.found
