"""Autodiscover's plain XML: the question, and the EWS address in the answer. Pure.

Source: [MS-OXDSCLI] §2.2.3 and §2.2.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

from mailferry.errors import RemoteProtocolError

_ASK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
_ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
MOST = 1 << 20
"""Bytes of an answer."""


@dataclass(frozen=True, slots=True)
class Told:
    """One of the three: the URL of EWS, an address to ask for instead, or a URL to ask instead; all "": neither."""

    ews: str = ""
    address: str = ""
    url: str = ""
    error: str = ""


def question(address: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="{_ASK}"><Request>'
        f"<EMailAddress>{escape(address)}</EMailAddress>"
        f"<AcceptableResponseSchema>{_ANSWER}</AcceptableResponseSchema></Request></Autodiscover>"
    ).encode()


def answer(data: bytes) -> Told:
    """RemoteProtocolError for what is no answer. Of several addresses of EWS, the one for within is taken (EXCH), else
    that for outside (EXPR, then WEB)."""
    if b"<!" in data:
        raise RemoteProtocolError("the answer declares a document type, as Autodiscover never does")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise RemoteProtocolError(f"the answer is no XML: {error.msg}") from error
    urls: dict[str, str] = {}
    for protocol in root.iter("{*}Protocol"):
        url = protocol.findtext("{*}EwsUrl") or protocol.findtext("{*}ASUrl")
        if url:
            urls.setdefault(protocol.findtext("{*}Type") or protocol.get("Type") or "", url)
    for kind in ("EXCH", "EXPR", "EXHTTP", "WEB"):
        if kind in urls:
            return Told(ews=urls[kind])
    found = next(root.iter("{*}Error"), None)
    if found is not None:
        return Told(error=(found.findtext("{*}Message") or "it refuses").strip())
    for action in root.iter("{*}Account"):
        if action.findtext("{*}RedirectAddr"):
            return Told(address=action.findtext("{*}RedirectAddr") or "")
        if action.findtext("{*}RedirectUrl"):
            return Told(url=action.findtext("{*}RedirectUrl") or "")
    return Told()
