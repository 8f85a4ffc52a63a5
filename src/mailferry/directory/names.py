"""Names of people as text: what two spellings share, which part is the surname, broken encodings. Pure.

Invariant: `name_key` gives the same key for a name in another order, script or transliteration of those it knows;
the same key never proves the same person.
"""

from __future__ import annotations

import re
import unicodedata

from mailferry.directory.letters import LATIN

_SAME = (
    (re.compile(r"shch|sch|tsch|tch|sz"), "sh"),
    (re.compile(r"x"), "ks"),
    (re.compile(r"[ck]h"), "h"),
    (re.compile(r"tz|cz|ts"), "c"),
    (re.compile(r"ph"), "f"),
    (re.compile(r"[yj]"), "i"),
    (re.compile(r"i+([aeou])"), r"\1"),
    (re.compile(r"(?<=[aou])e"), ""),
    (re.compile(r"w"), "v"),
    (re.compile(r"ck|q"), "k"),
    (re.compile(r"([^\W\d_])\1+"), r"\1"),
)
_TITLES = re.compile(
    r"(?i)\b(?:prof|dr|dipl|ing|mag|med|phil|rer|nat|h\.?c|mr|mrs|ms|mme|m|hr|fr|herr|frau)\.(?=\s|$|-)|\([^)]*\)|\[[^]]*\]"
)
_PARTICLES = re.compile(r"(?i)v[ao]n|d(?:e|er|en|a|i|u|el|ella|os|as)|l[ae]|zu[mr]?|a[fv]|i?bn|bin|[ae]l|te[rn]")
_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv", "phd", "md", "mba", "ret"})
_PATRONYMIC = re.compile(r"(?i)(?:ович|евич|ич|овна|евна|ична|инична)$")
HIGH = r"[\xc0-\xff]{4,}"
"""What Windows-1251 looks like as Windows-1252."""
MARKS = r"[ÃÂâÅÄÐÑÎÏРС][^\x00-\x7f]"
"""What UTF-8 looks like as another encoding; `unscramble` finds out whether it is."""
_HIGH, _MARKS = re.compile(HIGH), re.compile(MARKS)


def name_key(name: str) -> str:
    """What spellings of one name share: `Müller, Max`, `Max Mueller`; `Юрий Петров`, `Juri Petrow`. "" for nothing."""
    text = unicodedata.normalize("NFKD", _TITLES.sub(" ", name).casefold())
    text = "".join(one for one in text if not unicodedata.combining(one) and one not in "-'’").translate(LATIN)
    text = "".join(one if one.isalnum() else " " for one in text)
    words = []
    for word in text.split():
        for pattern, shared in _SAME:
            word = pattern.sub(shared, word)
        words.append(word)
    return " ".join(sorted(words))


def surname(name: str, given: str = "") -> str | None:
    """The surname in a display name, as well as one can tell; None for a name without letters."""
    before, comma, _ = name.partition(",")
    plain = " ".join(_TITLES.sub(" ", before if comma and before.strip() else name).split())
    if comma and any(one.isalpha() for one in plain):
        return plain
    words = [word for word in plain.split() if any(one.isalpha() for one in word)]
    while len(words) > 1 and words[-1].casefold().strip(".,") in _SUFFIXES:
        words.pop()
    first = given.split()
    if first and len(words) > len(first):
        if [word.casefold() for word in words[: len(first)]] == [word.casefold() for word in first]:
            words = words[len(first) :]
            return " ".join(words)
        if [word.casefold() for word in words[-len(first) :]] == [word.casefold() for word in first]:
            return " ".join(words[: -len(first)])
    if len(words) == 3 and _PATRONYMIC.search(words[2]):
        return words[0]
    start = next((at for at, word in enumerate(words[1:-1], 1) if _PARTICLES.fullmatch(word)), len(words) - 1)
    return " ".join(words[start:]) or None


def name_from_address(address: str) -> str | None:
    """A display name out of `max.mueller@a.example`; None where the local part has no letters."""
    words = [word for word in re.split(r"[._+\d-]+", address.partition("@")[0]) if word]
    return " ".join(word[:1].upper() + word[1:] for word in words) or None


def unscramble(text: str) -> str | None:
    """UTF-8 that was read as Windows-1252, Latin-1 or Windows-1251, put right (`MÃ¼ller`); None if it was not."""
    if not _MARKS.search(text):
        return None
    for encoding in ("cp1252", "latin-1", "cp1251"):
        try:
            found = _bytes(text, encoding).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        if len(found) < len(text):
            return unscramble(found) or found
    return None


def is_damaged(text: str) -> bool:
    """Whether text is UTF-8 that was read as Latin-1 and then lost its control characters (`Åukasz Å»Ã³Å`): some pairs
    of letters are one letter in UTF-8, others only half of one."""
    if not _MARKS.search(text):
        return False
    try:
        found = text.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return False
    return "\ufffd" in found and any(one > "\x7f" and one != "\ufffd" for one in found)


def _bytes(text: str, encoding: str) -> bytes:
    """Text encoded; of cp1252's five holes, what Windows puts there."""
    if encoding != "cp1252":
        return text.encode(encoding)
    return b"".join(one.encode("latin-1" if one in "\x81\x8d\x8f\x90\x9d" else encoding) for one in text)


def suspected_cyrillic(text: str) -> str | None:
    """Windows-1251 that was read as Windows-1252 (`Ïåòðîâ`), as it may be meant; None if it does not look so.

    No word of a Latin script has only accented letters; a guess all the same, for a human.
    """
    if not _HIGH.search(text) or re.search(r"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]", text):
        return None
    try:
        return text.encode("cp1252").decode("cp1251")
    except UnicodeError:
        return None
