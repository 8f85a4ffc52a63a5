"""Names of people as plain ASCII, for uids. Pure. Guesses no language: German letters the German way, Cyrillic and
Greek letter by letter, other Latin letters without their marks; what has no Latin form is left out."""

from __future__ import annotations

import re
import unicodedata

_LETTERS = (
    "ä:ae ö:oe ü:ue ß:ss æ:ae ø:oe å:aa œ:oe ð:d þ:th ł:l đ:d ħ:h ı:i ’: ': "
    "а:a б:b в:v г:g д:d е:e ж:zh з:z и:i й:y к:k л:l м:m н:n о:o п:p р:r с:s т:t у:u ф:f х:kh ц:ts ч:ch ш:sh щ:shch "
    "ъ: ы:y ь: э:e ю:yu я:ya ё:yo і:i ґ:g є:ye ї:yi ў:u ј:j љ:lj њ:nj ћ:c ђ:dj џ:dz "
    "α:a β:v γ:g δ:d ε:e ζ:z η:i θ:th ι:i κ:k λ:l μ:m ν:n ξ:x ο:o π:p ρ:r σ:s ς:s τ:t υ:y φ:f χ:ch ψ:ps ω:o"
)
LATIN = str.maketrans(dict(pair.split(":") for pair in _LETTERS.split(" ")))
_BLANKS = re.compile(r"\s+")
_OTHER = re.compile(r"[^a-z0-9._@+-]+")
_EDGES = re.compile(r"^[^a-z0-9]+|[^a-z0-9]+$")
_LIMIT = 64


def as_uid(text: str) -> str:
    """`text` in the letters of a uid: `a-z 0-9 . _ - + @`, at most 64; blanks become dots. "" if nothing is left."""
    if text.isascii() and text.isalnum():
        return text.lower()[:_LIMIT]
    lower = unicodedata.normalize("NFC", text).lower()
    plain = unicodedata.normalize("NFKD", lower.translate(LATIN).strip())
    plain = "".join(one for one in plain if not unicodedata.combining(one)).translate(LATIN)
    return _EDGES.sub("", _OTHER.sub("", _BLANKS.sub(".", plain))[:_LIMIT])


def one_line(text: str) -> str:
    """`text` with every run of blanks as one, none at the ends, and without control characters."""
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return text
    kept = "".join(one if one.isprintable() or one.isspace() else "" for one in text)
    return _BLANKS.sub(" ", kept).strip()
