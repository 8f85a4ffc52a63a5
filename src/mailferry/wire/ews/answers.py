"""EWS answers as trees, and what a refusal in them means for us. Builds no request.

Source: [MS-OXWSCDATA] §2.2.5.24 (ResponseCode), §2.2.4.24 (MessageXml); throttling: BackOffMilliseconds of
ErrorServerBusy. A tree comes from a skeleton (`stream.py`), which holds no document type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lxml import etree

from mailferry.errors import AuthError, ItemError, MailferryError, Permanent, RemoteProtocolError, Temporary

Element = etree._Element

TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
T, M, S = f"{{{TYPES}}}", f"{{{MESSAGES}}}", f"{{{SOAP}}}"

_REFERENCE = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,8}));")

BUSY = frozenset({"ErrorServerBusy", "ErrorExceededConnectionCount", "ErrorTooManyObjectsOpened"})
_FOR_NOW = BUSY | {
    "ErrorADOperation",
    "ErrorADUnavailable",
    "ErrorBatchProcessingStopped",
    "ErrorConnectionFailed",
    "ErrorInternalServerError",
    "ErrorInternalServerTransientError",
    "ErrorInsufficientResources",
    "ErrorMailboxFailover",
    "ErrorMailboxMoveInProgress",
    "ErrorMailboxStoreUnavailable",
    "ErrorNotEnoughMemory",
    "ErrorTimeoutExpired",
}
GONE = frozenset({"ErrorItemNotFound", "ErrorFolderNotFound"})
_RIGHTS = {
    "ErrorAccessDenied": "give the account full access to the mailbox, or the role ApplicationImpersonation",
    "ErrorAccountDisabled": "the account of this mailbox is disabled; ask Exchange's administrator",
    "ErrorImpersonateUserDenied": "give the account the role ApplicationImpersonation over this mailbox, "
    "or use ?access=delegate with full access",
    "ErrorImpersonationDenied": "give the account the role ApplicationImpersonation",
    "ErrorImpersonationFailed": "give the account the role ApplicationImpersonation",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server said instead of an answer. `back_off`: seconds it asks to wait."""

    code: str
    text: str
    back_off: float | None = None

    def error(self, about: str) -> MailferryError:
        """As one of ours."""
        said = f"Exchange says {self.code}: {self.text}" if self.text else f"Exchange says {self.code}"
        if self.code in _FOR_NOW:
            return Temporary(said, about=about, retry_after=self.back_off)
        if self.code in _RIGHTS:
            return AuthError(said, about=about, advice=_RIGHTS[self.code])
        if self.code in GONE:
            return ItemError(said, about=about)
        if self.code == "ErrorNonExistentMailbox":
            return Permanent(said, about=about, advice="check the address: the mailbox's SMTP address stands before @")
        return Permanent(said, about=about)


def tree(skeleton: bytes, about: str) -> Element:
    """What stands in the SOAP body. RemoteProtocolError where it is no SOAP at all."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(skeleton, parser)
    except etree.XMLSyntaxError:
        try:  # Exchange lets characters through that XML cannot hold
            root = etree.fromstring(_REFERENCE.sub(_allowed, skeleton), parser)
        except etree.XMLSyntaxError as error:
            raise RemoteProtocolError(f"the answer is no XML: {error.msg}", about=about) from error
    body = root.find(f"{S}Body")
    if body is None or not len(body):
        raise RemoteProtocolError("the answer is no answer of EWS", about=about)
    return body[0]


def _allowed(reference: re.Match[bytes]) -> bytes:
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    fine = code in (9, 10, 13) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or 0x10000 <= code < 0x110000
    return reference[0] if fine else b"\xef\xbf\xbd"


def server_version(payload: Element) -> tuple[int, ...]:
    """Major, minor, build and revision of the server that answered; () where it does not tell."""
    found = payload.getroottree().getroot().find(f"{S}Header/{T}ServerVersionInfo")
    names = ("MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber")
    numbers = [found.get(one, "") for one in names] if found is not None else []
    return tuple(map(int, numbers)) if numbers and all(one.isdigit() for one in numbers) else ()


def fault(payload: Element) -> Refusal | None:
    """The refusal that a SOAP fault is, None for an answer."""
    if payload.tag != f"{S}Fault":
        return None
    code = next((one.text for one in payload.iter("{*}ResponseCode") if one.text), "") or "a fault"
    text = next((one.text for one in payload.iter("{*}Message") if one.text), "") or payload.findtext("faultstring")
    return Refusal(code, (text or "").strip(), _back_off(payload))


def refusal(message: Element) -> Refusal | None:
    """The refusal in one response message, None where it was done. A warning is an answer."""
    if message.get("ResponseClass") != "Error":
        return None
    code = message.findtext(f"{M}ResponseCode") or "an error without a code"
    return Refusal(code, (message.findtext(f"{M}MessageText") or "").strip(), _back_off(message))


def _back_off(within: Element) -> float | None:
    for value in within.iter(f"{T}Value"):
        if value.get("Name") == "BackOffMilliseconds" and (value.text or "").isdigit():
            return int(value.text or "0") / 1000
    return None


def messages(payload: Element) -> Iterator[Element]:
    """The response messages of an answer, in the order of what was asked; the answer itself where it has no list of
    them (GetInboxRules, GetUserOofSettings)."""
    several = payload.find(f"{M}ResponseMessages")
    if several is not None:
        yield from several
    else:
        single = payload.find(f"{M}ResponseMessage")
        yield payload if single is None else single


def text(element: Element, path: str) -> str:
    """The text at a path of local names in the types' namespace; "" where there is none."""
    found = element.find("/".join(f"{T}{one}" for one in path.split("/")))
    return "" if found is None else found.text or ""


def yes(element: Element, path: str) -> bool:
    return text(element, path) in ("true", "1")


def extended(item: Element) -> dict[str, str]:
    """The single-valued extended properties of an item: by tag (`0x1081`; Exchange drops leading zeros), else by name
    or id."""
    found = {}
    for one in item.iterfind(f"{T}ExtendedProperty"):
        uri = one.find(f"{T}ExtendedFieldURI")
        value = one.find(f"{T}Value")
        if uri is not None and value is not None:
            tag = uri.get("PropertyTag", "")
            name = _tag(tag) if tag else uri.get("PropertyName") or uri.get("PropertyId") or ""
            found[name] = value.text or ""
    return found


@cache
def _tag(text: str) -> str:
    try:
        return f"0x{int(text, 0):04x}"
    except ValueError:
        return text
