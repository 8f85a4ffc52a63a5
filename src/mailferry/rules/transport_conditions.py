"""One condition of a transport rule → a Sieve test, or None where Sieve cannot say it. Pure.

Words are whole words, patterns are .NET's as far as POSIX means the same by them. Invariant: a test fits no message
that Exchange's condition would not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mailferry.rules import values
from mailferry.wire.sieve import Tag, Test, any_of, not_

Around = Mapping[str, Any]
"""All conditions, or all exceptions, of the rule: one may be named by another."""
Maker = Callable[[Sequence[str], Around, Sequence[str]], Test | None]
"""Texts, what is around them, the organisation's domains."""

_REGEX, _MIME = frozenset(("regex",)), frozenset(("mime",))
_BODY, _ENVELOPE = frozenset(("body",)), frozenset(("envelope",))
_ADDRESS = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+")
HEADER = re.compile(r"[!-9;-~]+")
_SUPPORTED = {r"\d": "[0-9]", r"\s": "[[:space:]]", r"\w": "[[:alnum:]_]", r"\.": r"\.", r"\-": "-", r"\@": "@"}


def test_of(name: str, texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    """The test of a condition of `transport_names.CONDITIONS` that has one."""
    return _TESTS[name](texts, around, domains)


def _regex(command: str, *more: Any, needs: frozenset[str] = frozenset(), words: bool) -> Maker:
    def make(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
        found = [_word(text) if words else _pattern(text) for text in texts]
        if any(one is None for one in found):
            return None
        keys = tuple(one for one in found if one is not None)
        return Test(command, (Tag(":regex"), *more, keys if len(keys) > 1 else keys[0]), needs=_REGEX | needs)

    return make


def _either(*makers: Maker) -> Maker:
    def make(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
        found = [one(texts, around, domains) for one in makers]
        return None if any(one is None for one in found) else any_of([one for one in found if one is not None])

    return make


def _named(which: str, *, words: bool) -> Maker:
    """A header that another property names."""

    def make(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
        header = text_of(around.get(which))
        if not HEADER.fullmatch(header):
            return None
        return _regex("header", header, words=words)(texts, around, domains)

    return make


def _people(command: str, field_: str | tuple[str, ...], needs: frozenset[str] = frozenset()) -> Maker:
    def make(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
        people = addresses(texts)
        if people is None:
            return None
        return Test(command, (Tag(":is"), field_, people if len(people) > 1 else people[0]), needs=needs)

    return make


def _domains(command: str, field_: str, needs: frozenset[str] = frozenset()) -> Maker:
    def make(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
        return _of_domains(command, field_, texts, needs)

    return make


def _of_domains(command: str, field_: str, domains: Sequence[str], needs: frozenset[str] = frozenset()) -> Test:
    """Of these domains, and of those below them."""
    known = tuple(one.lower() for one in domains)
    below = tuple(f"*.{_glob(one)}" for one in known)
    return any_of(
        [
            Test(command, (Tag(":is"), Tag(":domain"), field_, known if len(known) > 1 else known[0]), needs=needs),
            Test(
                command, (Tag(":matches"), Tag(":domain"), field_, below if len(below) > 1 else below[0]), needs=needs
            ),
        ]
    )


def _from_scope(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    if not domains or texts[0].lower() not in ("inorganization", "notinorganization", "0", "1"):
        return None
    inside = _of_domains("address", "from", domains)
    return inside if texts[0].lower() in ("inorganization", "0") else not_(inside)


def _to_scope(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    inside = texts[0].lower() in ("inorganization", "0")
    return Test("true") if inside else None


def _size(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    size = values.size(texts[0])
    return None if size is None else Test("size", (Tag(":over"), int(size)))


def _importance(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    word = {"0": "low", "1": "normal", "2": "high"}.get(texts[0], texts[0].lower())
    if word == "normal":
        return not_(Test("header", (Tag(":is"), "importance", ("low", "high"))))
    return Test("header", (Tag(":is"), "importance", word)) if word in ("low", "high") else None


def _extension(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    globs = tuple(f"*.{_glob(one.lstrip('.'))}" for one in texts)
    what = globs if len(globs) > 1 else globs[0]
    return any_of(
        [Test("header", (Tag(":matches"), *_param(name, header), what), needs=_MIME) for name, header in _FILE]
    )


def _file_name(texts: Sequence[str], around: Around, domains: Sequence[str]) -> Test | None:
    return _either(*(_regex("header", *_param(name, header), needs=_MIME, words=False) for name, header in _FILE))(
        texts, around, domains
    )


_FILE = (("filename", "content-disposition"), ("name", "content-type"))


def _param(name: str, header: str) -> tuple[Any, ...]:
    return Tag(":mime"), Tag(":anychild"), Tag(":param"), name, header


_TESTS: Mapping[str, Maker] = {
    "SubjectContainsWords": _regex("header", "subject", words=True),
    "SubjectMatchesPatterns": _regex("header", "subject", words=False),
    "SubjectOrBodyContainsWords": _either(
        _regex("header", "subject", words=True), _regex("body", Tag(":text"), needs=_BODY, words=True)
    ),
    "SubjectOrBodyMatchesPatterns": _either(
        _regex("header", "subject", words=False), _regex("body", Tag(":text"), needs=_BODY, words=False)
    ),
    "HeaderContainsWords": _named("HeaderContainsMessageHeader", words=True),
    "HeaderMatchesPatterns": _named("HeaderMatchesMessageHeader", words=False),
    "From": _people("address", "from"),
    "FromAddressContainsWords": _regex("address", "from", words=True),
    "FromAddressMatchesPatterns": _regex("address", "from", words=False),
    "SenderDomainIs": _domains("address", "from"),
    "FromScope": _from_scope,
    "SentTo": _people("envelope", "to", _ENVELOPE),
    "SentToScope": _to_scope,
    "RecipientDomainIs": _domains("envelope", "to", _ENVELOPE),
    "RecipientAddressContainsWords": _regex("envelope", "to", needs=_ENVELOPE, words=True),
    "RecipientAddressMatchesPatterns": _regex("envelope", "to", needs=_ENVELOPE, words=False),
    "AnyOfToHeader": _people("address", "to"),
    "AnyOfCcHeader": _people("address", "cc"),
    "AnyOfToCcHeader": _people("address", ("to", "cc")),
    "MessageSizeOver": _size,
    "WithImportance": _importance,
    "AttachmentNameMatchesPatterns": _file_name,
    "AttachmentExtensionMatchesWords": _extension,
}


def _word(text: str) -> str | None:
    """A whole word or phrase as a POSIX pattern, in any case (the comparator's work). None: not ASCII, where a regular
    expression counts bytes."""
    if not text.isascii() or not text.strip():
        return None
    inner = re.sub(r"\s+", "[[:space:]]+", re.sub(r"([.^$*+?()\[\]{}|\\])", r"\\\1", text.strip()))
    return f"(^|[^[:alnum:]_]){inner}([^[:alnum:]_]|$)"


def _pattern(text: str) -> str | None:
    """A pattern of Exchange, where POSIX means the same by it."""
    if not text.isascii() or not text.strip() or re.search(r"\(\?|[*+?}][?+]", text):
        return None
    made, position = "", 0
    while position < len(text):
        if text[position] == "\\":
            pair = text[position : position + 2]
            if pair not in _SUPPORTED and not re.fullmatch(r"\\[\^$*+?()\[\]{}|\\]", pair):
                return None
            made, position = made + _SUPPORTED.get(pair, pair), position + 2
            continue
        made, position = made + text[position], position + 1
    try:
        re.compile(text)
    except re.error:
        return None
    return made


def _glob(text: str) -> str:
    return re.sub(r"([*?\\])", r"\\\1", text)


def addresses(value: Any) -> tuple[str, ...] | None:
    found = tuple(values.person(one) for one in texts_of(value) or ())
    return found if found and all(_ADDRESS.fullmatch(one) for one in found) else None


def texts_of(value: Any) -> tuple[str, ...] | None:
    """None: an export that names the type instead (Export-Csv)."""
    if value is None:
        return ()
    many = value if isinstance(value, list | tuple) else [value]
    texts = [text_of(one) for one in many]
    if any(one.startswith(("System.", "Microsoft.Exchange.")) for one in texts):
        return None
    return tuple(one for one in texts if one)


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        parts = {str(name).lower(): part for name, part in value.items()}
        found = (text_of(parts.get(name)) for name in ("address", "value", "text", "name"))
        return next(filter(None, found), "")
    return str(value).strip()


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value
