"""Makes realistic mail, always the same for the same seed: messages, odd messages, whole mailboxes.

It writes no file and opens no socket (lab.maildir writes a mailbox to disk). Bodies have CRLF line ends as IMAP gives
them. Invariant: equal arguments give equal bytes, flags and dates, on every machine and in every process.
"""

from __future__ import annotations

import base64
import math
import quopri
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from email.header import Header
from email.utils import format_datetime
from random import Random
from typing import Literal

Language = Literal["en", "de", "ru"]

_MEDIAN, _MEAN = 12_000, 60_000
_BIG_EVERY, _BIG = 500, (5_000_000, 10_000_000)
_ORDINARY_MAX = 2_000_000
_EPOCH = 1_262_304_000  # 2010-01-01
_SPAN = 14 * 365 * 86_400
_FROM = re.compile(rb"(?m)^From: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")
_ZONES = (-480, -300, 0, 0, 60, 60, 120, 180, 330, 345, 540)
_KEYWORDS = ("$Forwarded", "$MDNSent", "Work", "Personal", "$Label1", "invoice-2024")

WELL_KNOWN: dict[Language, dict[str, str]] = {
    "en": {
        "sent": "Sent Items",
        "trash": "Deleted Items",
        "drafts": "Drafts",
        "junk": "Junk Email",
        "outbox": "Outbox",
        "archive": "Archive",
        "calendar": "Calendar",
        "contacts": "Contacts",
        "tasks": "Tasks",
        "notes": "Notes",
        "journal": "Journal",
    },
    "de": {
        "sent": "Gesendete Elemente",
        "trash": "Gelöschte Elemente",
        "drafts": "Entwürfe",
        "junk": "Junk-E-Mail",
        "outbox": "Postausgang",
        "archive": "Archiv",
        "calendar": "Kalender",
        "contacts": "Kontakte",
        "tasks": "Aufgaben",
        "notes": "Notizen",
        "journal": "Journal",
    },
    "ru": {
        "sent": "Отправленные",
        "trash": "Удаленные",
        "drafts": "Черновики",
        "junk": "Нежелательная почта",
        "outbox": "Исходящие",
        "archive": "Архив",
        "calendar": "Календарь",
        "contacts": "Контакты",
        "tasks": "Задачи",
        "notes": "Заметки",
        "journal": "Дневник",
    },
}
"""Outlook's own folder names by language; the keys are this module's."""

_WORDS: dict[Language, str] = {
    "en": "the please find attached report for next week we should meet and agree on a budget before Friday "
    "regards thanks offer contract delivery team customer invoice number question answer meeting plan",
    "de": "bitte finden Sie anbei den Bericht für nächste Woche wir müssen über das Budget sprechen Grüße "
    "vielen Dank Angebot Vertrag Lieferung Kunde Rechnung Größe Übergabe Straße Besprechung schön",
    "ru": "пожалуйста найдите во вложении отчёт за следующую неделю нам нужно обсудить бюджет до пятницы "
    "спасибо с уважением договор поставка клиент счёт вопрос ответ встреча план съёмка объём",
}
_PEOPLE = (
    ("Anna Schröder", "anna.schroeder"),
    ("Иван Петров", "ivan.petrov"),
    ("John O'Neil", "john.oneil"),
    ("Zoë Müller-Lüdenscheidt", "zoe"),
    ("Li Wei (李伟)", "li.wei"),
    ("Accounts, Payable", "ap"),
)


@dataclass(frozen=True, slots=True)
class CorpusMessage:
    """One message as it should come out of a source.

    `internal_date` is seconds since 1970, `zone` minutes east of UTC (a Maildir cannot hold the zone). `kind` names
    what is odd about it, "plain" for nothing.
    """

    body: bytes
    flags: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    internal_date: int = _EPOCH
    zone: int = 0
    kind: str = "plain"


@dataclass(frozen=True, slots=True)
class CorpusFolder:
    """One folder: its name by levels (INBOX is `("INBOX",)`), and the recipe of its messages. `sender`: the address
    that its ordinary messages are from, instead of various people's."""

    path: tuple[str, ...]
    count: int = 0
    subscribed: bool = True
    special: str | None = None
    odd: bool = False
    seed: int = 0
    language: Language = "en"
    scale: float = 1.0
    big: bool = True
    sender: str = ""

    def messages(self) -> Iterator[CorpusMessage]:
        """The messages in UID order, made anew at each call (they need not fit in memory together)."""
        for one in messages(self.seed, self.count, language=self.language, scale=self.scale, big=self.big):
            yield replace(one, body=_FROM.sub(f"From: {self.sender}\r\n".encode(), one.body, 1)) if self.sender else one
        if self.odd:
            yield from odd_messages()


def messages(
    seed: int, n: int, *, language: Language = "en", scale: float = 1.0, big: bool = True
) -> Iterator[CorpusMessage]:
    """Yield n messages: sizes lognormal, median 12 kB and mean 60 kB times `scale`.

    With `big`, about one in 500 has 5 to 10 MB (times `scale`); without it, none is over 2 MB.
    """
    rng = Random(seed)
    for number in range(n):
        yield _message(rng, f"{seed}.{number}", language, _size(rng, big) * scale)


def mailbox(
    seed: int,
    n: int,
    language: Language = "en",
    *,
    scale: float = 1.0,
    big: bool = True,
    odd: bool = True,
    dots: bool = True,
    owner: str = "",
) -> Iterator[CorpusFolder]:
    """Yield the folders of one mailbox with n ordinary messages among them, and the odd ones in a folder of their own.
    `owner`: the address that what was sent is from.

    `dots` adds names with a dot in them, which a Maildir++ without escaping cannot hold.
    """
    known = WELL_KNOWN[language]
    layout: list[tuple[tuple[str, ...], int, str | None]] = [
        (("INBOX",), 30, "inbox"),
        ((known["sent"],), 20, "sent"),
        ((known["trash"],), 6, "trash"),
        ((known["drafts"],), 2, "drafts"),
        ((known["junk"],), 3, "junk"),
        ((known["outbox"],), 0, "outbox"),
        ((known["archive"],), 8, "archive"),
        ((known["archive"], "2019"), 4, None),
        ((known["archive"], "2019", "Q1 & Q2"), 2, None),
        (("INBOX", "Todo"), 3, None),
        (("Projects",), 0, None),
        (("Projects", "Müller & Söhne GmbH"), 5, None),
        (("Projects", "Müller & Söhne GmbH", "Angebote"), 4, None),
        (("Переписка",), 3, None),
        (("Переписка", "Бухгалтерия"), 4, None),
        (("🚀 Launch",), 2, None),
        (("日本語",), 1, None),
        (("R&D ~ 50% [x] 'quoted' \"double\"",), 1, None),
        (("Empty",), 0, None),
        (("Empty", "also empty"), 0, None),
        (tuple(f"level {depth}" for depth in range(1, 9)), 2, None),
    ]
    if dots:
        layout.append((("v1.2 notes.",), 1, None))
    rng = Random(seed)
    counts = _share(n, [weight for _, weight, _ in layout])
    for (path, _, special), count in zip(layout, counts, strict=True):
        own = zlib.crc32(repr((seed, path)).encode())
        subscribed = special is not None or rng.random() < 0.7
        sender = owner if special == "sent" else ""
        yield CorpusFolder(path, count, subscribed, special, False, own, language, scale, big, sender)
    if odd:
        yield CorpusFolder(("Odd messages",), 0, True, None, True)


def odd_messages() -> Iterator[CorpusMessage]:
    """Yield one of each kind of message that servers and tools are known to lose or change (duplicates: three)."""
    for number, (kind, body) in enumerate(_odd_bodies()):
        yield CorpusMessage(
            body,
            frozenset({"\\Seen"}) if number % 2 else frozenset(),
            frozenset({"Work"}) if number % 3 == 0 else frozenset(),
            _EPOCH + 86_400 * number + 1,
            _ZONES[number % len(_ZONES)],
            kind,
        )


def dovecot_view(body: bytes) -> bytes:
    """The bytes that Dovecot gives over IMAP for a message stored with these: every LF as CRLF, NUL as 0x80."""
    return body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"\0", b"\x80")


def _odd_bodies() -> Iterator[tuple[str, bytes]]:
    date = b"Date: Tue, 05 Mar 2019 10:11:12 +0100\r\n"

    def head(name: str, extra: bytes = date) -> bytes:
        return f"From: odd@example.org\r\nSubject: {name}\r\nMessage-ID: <{name}@odd>\r\n".encode() + extra

    copy = head("duplicate") + b"\r\nthree identical copies\r\n"
    yield from (("duplicate", copy) for _ in range(3))
    yield "no-message-id", b"From: odd@example.org\r\nSubject: no id\r\n" + date + b"\r\nnone\r\n"
    yield "no-message-id-twin", b"From: odd@example.org\r\nSubject: no id\r\n" + date + b"\r\nnone, but other text\r\n"
    yield "no-header", b"\r\nThis message has no header at all.\r\n"
    yield "no-header-no-blank", b"neither a header nor an empty line\r\n"
    yield "nul", head("nul") + b"\r\nbefore\0after\0\0\r\n"
    yield "long-line", head("long-line") + b"\r\n" + b"x" * 12_000 + b"\r\n"
    yield "long-header", head("long-header", date + b"X-Long: " + b"y" * 12_000 + b"\r\n") + b"\r\nlong\r\n"
    yield "bare-cr", head("bare-cr") + b"\r\none\rtwo\rthree\r\n"
    yield "bare-lf", head("bare-lf") + b"\r\none\ntwo\nthree\r\n"
    yield "bare-lf-header", head("bare-lf-header").replace(b"\r\n", b"\n") + b"\nall line ends bare\n"
    yield "raw-8bit-header", head("raw-8bit", date + b"X-Raw: \xfc\xe4\xf6 \xd0\x9f\xff\r\n") + b"\r\n\xe4\xf6\r\n"
    yield "wrong-date", head("wrong-date", b"Date: yesterday, around noon\r\n") + b"\r\nwhen?\r\n"
    yield "impossible-date", head("impossible-date", b"Date: Fri, 31 Feb 2022 25:61:00 +9999\r\n") + b"\r\nwhen?\r\n"
    yield "no-date", head("no-date", b"") + b"\r\nno date\r\n"
    yield "empty-body", head("empty-body") + b"\r\n"
    yield "header-only", head("header-only")
    yield "no-final-newline", head("no-final-newline") + b"\r\nlast line without an end"
    yield "from-line", head("from-line") + b"\r\nFrom here on\r\n>From there\r\n.\r\n..\r\n"
    yield "two-message-ids", head("two-ids", date + b"Message-ID: <second@odd>\r\n") + b"\r\ntwo\r\n"
    yield "empty-message-id", b"Message-ID:\r\nSubject: empty id\r\n" + date + b"\r\nempty id\r\n"
    yield "folded-subject", head("folded", date + b"Subject: =?utf-8?B?w4Q=?=\r\n =?broken\r\n\t x\r\n") + b"\r\nf\r\n"
    yield "broken-mime", head("broken-mime", date + b"Content-Type: multipart/mixed; boundary=b\r\n") + b"\r\n--b\r\n"
    yield "one-byte", b"x"
    yield (
        "exchange-fake",
        b"From: Microsoft Exchange Server <postmaster@example.org>\r\nTo: user@example.org\r\n"
        b"Subject: Retrieval using the IMAP4 protocol failed for the following message: 4711\r\n"
        + date
        + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
        b"The server couldn't retrieve the following message:\r\n\r\nSubject: Quarterly figures\r\n"
        b"From: anna@example.org\r\nSent date: 3/5/2019 10:11:12 AM\r\n\r\n"
        b"The message hasn't been deleted. You might be able to view it using either Outlook or Outlook Web App.\r\n",
    )


def _size(rng: Random, big: bool) -> float:
    # The few big ones carry their part of the mean; the lognormal carries the rest.
    if rng.random() < 1 / _BIG_EVERY:
        wanted = rng.uniform(*_BIG)
        if big:
            return wanted
    rest = _MEAN - sum(_BIG) / 2 / _BIG_EVERY
    sigma = math.sqrt(2 * math.log(rest / _MEDIAN))
    return min(rng.lognormvariate(math.log(_MEDIAN), sigma), _ORDINARY_MAX)


def _share(n: int, weights: list[int]) -> list[int]:
    """Whole numbers that add up to n, in proportion to the weights."""
    total, done, out = sum(weights), 0, []
    for index in range(len(weights)):
        upto = n * sum(weights[: index + 1]) // total
        out.append(upto - done)
        done = upto
    return out


@dataclass(slots=True)
class _Text:
    """Endless text of one language."""

    rng: Random
    language: Language
    pool: list[str] = field(default_factory=list)

    def line(self) -> str:
        if len(self.pool) < 40:
            self.pool.append(" ".join(self.rng.choices(_WORDS[self.language].split(), k=self.rng.randint(4, 11))))
            return self.pool[-1]
        return self.rng.choice(self.pool)

    def lines(self, size: float) -> str:
        out, length = [], 0
        while length < size:
            out.append(self.line())
            length += len(out[-1]) + 2
        return "\r\n".join(out) + "\r\n"


def _message(rng: Random, ident: str, language: Language, size: float) -> CorpusMessage:
    sent = _EPOCH + rng.randrange(_SPAN)
    zone = rng.choice(_ZONES)
    # Usually seconds to minutes after it was sent; sometimes (an earlier migration, an import) months.
    arrived = sent + (rng.randint(1, 900) if rng.random() < 0.8 else rng.randint(86_400, 200 * 86_400))
    text = _Text(rng, language)
    body = _header(rng, text, ident, sent, zone) + _content(rng, text, size - 900)
    flags = {"\\Seen"} if rng.random() < 0.8 else set()
    flags |= {
        flag
        for flag, odds in (("\\Answered", 0.2), ("\\Flagged", 0.08), ("\\Draft", 0.02), ("\\Deleted", 0.02))
        if rng.random() < odds
    }
    keywords = {word for word in _KEYWORDS if rng.random() < 0.06}
    return CorpusMessage(body, frozenset(flags), frozenset(keywords), arrived, rng.choice(_ZONES))


def _header(rng: Random, text: _Text, ident: str, sent: int, zone: int) -> bytes:
    moment = datetime.fromtimestamp(sent, UTC).astimezone(timezone(timedelta(minutes=zone)))
    (name, local), (to_name, to_local) = rng.choice(_PEOPLE), rng.choice(_PEOPLE)
    lines = [
        f"Received: from mx{hop}.example.org (10.0.0.{hop}) by EX{hop}.acme.example (10.1.0.{hop})\r\n"
        f" with Microsoft SMTP Server id 15.1.2507.{rng.randint(6, 44)}; {format_datetime(moment)}"
        for hop in range(rng.randint(1, 4))
    ]
    lines += [
        f"From: {_encode(name)} <{local}@acme.example>",
        f"To: {_encode(to_name)} <{to_local}@example.org>",
        f"Subject: {_encode(text.line())}",
        f"Date: {format_datetime(moment)}",
        f"Message-ID: <{ident}.{rng.getrandbits(64):016x}@acme.example>",
    ]
    if rng.random() < 0.4:
        lines.append(f"In-Reply-To: <{rng.getrandbits(64):016x}@example.org>")
    lines += [
        f"Thread-Index: {base64.b64encode(rng.randbytes(22)).decode()}",
        "X-MS-Exchange-Organization-AuthAs: Internal",
        "MIME-Version: 1.0",
    ]
    return ("\r\n".join(lines) + "\r\n").encode()


def _encode(value: str) -> str:
    if value.isascii():
        return f'"{value}"' if "," in value else value
    return Header(value, "utf-8", maxlinelen=70, header_name="Subject").encode(linesep="\r\n")


def _content(rng: Random, text: _Text, size: float) -> bytes:
    if size < 4_000:
        return (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            + text.lines(max(size / 2, 20)).encode()
        )
    boundary = f"_000_{rng.getrandbits(64):016X}_"
    words = text.lines(min(size / 8, 6_000))
    html = f"<html><body><p>{words}</p></body></html>\r\n"
    alternative = (
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    alternative += _base64(words.encode())
    alternative += (
        f"--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    ).encode()
    alternative += _quoted(html) + f"--{boundary}--\r\n".encode()
    left = size - len(alternative)
    if left < 2_000:
        return alternative
    outer = f"_004_{rng.getrandbits(64):016X}_"
    out = f'Content-Type: multipart/mixed; boundary="{outer}"\r\n\r\n--{outer}\r\n'.encode() + alternative
    kind, name = rng.choice(
        (("application/pdf", "report.pdf"), ("image/jpeg", "IMG_0815.jpg"), ("application/vnd.ms-excel", "Größe.xls"))
    )
    out += (
        f'--{outer}\r\nContent-Type: {kind}; name="{_encode(name)}"\r\n'
        f'Content-Disposition: attachment; filename="{_encode(name)}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    ).encode()
    return out + _base64(rng.randbytes(int(left * 57 / 78))) + f"--{outer}--\r\n".encode()


def _quoted(value: str) -> bytes:
    encoded = quopri.encodestring(value.replace("\r\n", "\n").encode())
    return encoded.replace(b"\n", b"\r\n")


def _base64(data: bytes) -> bytes:
    encoded = base64.b64encode(data)
    return b"\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76)) + b"\r\n"
