"""What servers say and what we make of it: each transcript fed whole, byte by byte and cut at random.

The lines are as Dovecot, Exchange, Courier and Cyrus write them, or as the RFC named at the transcript shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.model.message import Date
from mailferry.wire.imap.events import (
    Acl,
    Bye,
    Capability,
    Code,
    Continuation,
    Enabled,
    Event,
    Exists,
    Expunge,
    Fetch,
    Flags,
    Greeting,
    Id,
    Listed,
    LiteralChunk,
    LiteralEnd,
    LiteralStart,
    Metadata,
    MyRights,
    Namespaces,
    Notice,
    Quota,
    QuotaRoot,
    Recent,
    Search,
    Status,
    Streamed,
    Tagged,
    Unknown,
    Vanished,
)
from mailferry.wire.imap.parser import Parser

HELLO = b"* OK ready\r\n"
SMALL = 64
"""The inline limit in these tests, so that literals are streamed without megabytes."""

BIG = bytes(range(256)) * 2

TRANSCRIPTS: dict[str, tuple[bytes, list[Event]]] = {
    "dovecot-fetch": (
        b'* 1 FETCH (UID 3 FLAGS (\\Seen $Forwarded) INTERNALDATE "17-Jul-1996 02:44:25 -0700" '
        b"BODY[] {5}\r\nab\r\nc)\r\n",
        [Fetch(1, 3, 1, ("$Forwarded",), Date(837596665, -420), body=b"ab\r\nc")],
    ),
    "flags-only": (
        b"* 2 FETCH (UID 4 FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Recent \\XUnknown b A))\r\n",
        [Fetch(2, 4, 30, ("A", "b"))],
    ),
    "condstore-fetch": (
        b"* 2 FETCH (UID 4 FLAGS () MODSEQ (12))\r\n* 2 FETCH (MODSEQ (13) UID 4)\r\n",
        [Fetch(2, 4, 0, (), modseq=12), Fetch(2, 4, modseq=13)],
    ),
    "body-first": (
        b"* 2 FETCH (BODY[] {3}\r\n)\r\n FLAGS (\\Seen) UID 9 RFC822.SIZE 3)\r\n",
        [Fetch(2, 9, 1, (), size=3, body=b")\r\n")],
    ),
    "body-quoted": (
        b'* 2 FETCH (UID 9 BODY[] "a \\"b\\" \\\\ c")\r\n',
        [Fetch(2, 9, body=b'a "b" \\ c')],
    ),
    "body-nil": (b"* 2 FETCH (UID 9 BODY[] NIL)\r\n", [Fetch(2, 9)]),
    "body-empty": (
        b'* 2 FETCH (UID 9 BODY[] {0}\r\n)\r\n* 3 FETCH (UID 10 BODY[] "")\r\n',
        [Fetch(2, 9, body=b""), Fetch(3, 10, body=b"")],
    ),
    "literal8-binary": (b"* 2 FETCH (UID 9 BINARY[] ~{3}\r\na\0b)\r\n", [Fetch(2, 9, body=b"a\0b")]),
    "headers": (
        b"* 2 FETCH (UID 9 RFC822.SIZE 77 BODY[HEADER] {6}\r\nA: b\r\n)\r\n"
        b'* 2 FETCH (UID 9 BODY[HEADER.FIELDS ("DATE" FROM)] {2}\r\n\r\n)\r\n',
        [Fetch(2, 9, size=77, header=b"A: b\r\n"), Fetch(2, 9, header=b"\r\n")],
    ),
    "impossible-date": (
        b'* 2 FETCH (UID 9 INTERNALDATE "31-Feb-2001 00:00:00 +0000")\r\n',
        [Fetch(2, 9)],
    ),
    "streamed": (
        b"* 2 FETCH (UID 9 FLAGS (\\Seen) BODY[] {512}\r\n" + BIG + b")\r\n",
        [LiteralStart(512), LiteralChunk(BIG), LiteralEnd(), Fetch(2, 9, 1, (), body=Streamed(0, 512))],
    ),
    "streamed-twice": (
        b"* 2 FETCH (BODY[HEADER] {512}\r\n" + BIG + b" BODY[] {512}\r\n" + BIG + b" UID 9)\r\n",
        [
            *(LiteralStart(512), LiteralChunk(BIG), LiteralEnd()),
            *(LiteralStart(512), LiteralChunk(BIG), LiteralEnd()),
            Fetch(2, 9, header=Streamed(0, 512), body=Streamed(1, 512)),
        ],
    ),
    "list": (
        b'* LIST (\\HasNoChildren \\Sent) "/" "Sent Items"\r\n* LIST (\\Noselect) "." INBOX.x\r\n'
        b'* LIST () NIL {5}\r\na"b\\c\r\n* LSUB () "." "a\\"b"\r\n* LIST () "\\\\" NIL\r\n',
        [
            Listed(b"Sent Items", "/", frozenset({"\\HASNOCHILDREN", "\\SENT"})),
            Listed(b"INBOX.x", ".", frozenset({"\\NOSELECT"})),
            Listed(b'a"b\\c', None, frozenset()),
            Listed(b'a"b', ".", frozenset(), lsub=True),
            Listed(b"NIL", "\\", frozenset()),
        ],
    ),
    "list-extended": (  # RFC 5258 §4
        b'* LIST (\\NonExistent) "/" "Foo" ("CHILDINFO" ("SUBSCRIBED"))\r\n',
        [Listed(b"Foo", "/", frozenset({"\\NONEXISTENT"}), childinfo=frozenset({"SUBSCRIBED"}))],
    ),
    "status": (
        b'* STATUS "Gr&APY-" (MESSAGES 3 UIDNEXT 4 UIDVALIDITY 5 HIGHESTMODSEQ 6)\r\n* STATUS INBOX ()\r\n',
        [
            Status(b"Gr&APY-", {"MESSAGES": 3, "UIDNEXT": 4, "UIDVALIDITY": 5, "HIGHESTMODSEQ": 6}),
            Status(b"INBOX", {}),
        ],
    ),
    "search": (
        b"* SEARCH\r\n* SEARCH 2 84\r\n* SEARCH 2 (MODSEQ 917162500)\r\n",
        [Search(()), Search(((2, 2), (84, 84))), Search(((2, 2),), modseq=917162500)],
    ),
    "esearch": (  # RFC 4731 §3.1
        b'* ESEARCH (TAG "A283") UID ALL 2,10:11 COUNT 3\r\n* ESEARCH (TAG "A") MODSEQ 5\r\n',
        [Search(((2, 2), (10, 11)), b"A283", 3), Search((), b"A", modseq=5)],
    ),
    "select": (
        b"* FLAGS (\\Answered \\Seen Work)\r\n* OK [PERMANENTFLAGS (\\Seen Work \\*)] Flags permitted.\r\n"
        b"* 3 EXISTS\r\n* 1 RECENT\r\n* OK [UIDVALIDITY 1700] UIDs valid\r\n* OK [UIDNEXT 9] next\r\n"
        b"* OK [HIGHESTMODSEQ 5] Highest\r\n* OK [NOMODSEQ] none\r\n* OK [CLOSED] Previous\r\n* OK [UNSEEN 2] First\r\n"
        b"a OK [READ-ONLY] Examine completed (0.001 secs).\r\n",
        [
            Flags(3, ("Work",)),
            Notice("OK", Code("PERMANENTFLAGS", atoms=("\\Seen", "Work", "\\*")), "Flags permitted."),
            Exists(3),
            Recent(1),
            Notice("OK", Code("UIDVALIDITY", 1700), "UIDs valid"),
            Notice("OK", Code("UIDNEXT", 9), "next"),
            Notice("OK", Code("HIGHESTMODSEQ", 5), "Highest"),
            Notice("OK", Code("NOMODSEQ"), "none"),
            Notice("OK", Code("CLOSED"), "Previous"),
            Notice("OK", Code("UNSEEN", 2), "First"),
            Tagged(b"a", "OK", Code("READ-ONLY"), "Examine completed (0.001 secs)."),
        ],
    ),
    "codes": (
        b"a OK [APPENDUID 38505 3955:3957] done\r\nb OK [COPYUID 3 304,319:320 1:3] done\r\n"
        b"c NO [TRYCREATE] x\r\nd NO [OVERQUOTA] full\r\ne NO [LIMIT] l\r\n"
        b"f NO [TOOBIG] t\r\ng NO [ALREADYEXISTS] a\r\n"
        b"h NO [NONEXISTENT] n\r\ni NO [AUTHENTICATIONFAILED] Authentication failed.\r\nj NO [UNAVAILABLE] u\r\n"
        b"k NO [INUSE] i\r\nl NO [NOPERM] p\r\nm NO [BADCHARSET (UTF-8)] c\r\nn OK [MODIFIED 7,9] m\r\n"
        b"o OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] Logged in\r\np BAD [odd\r\nq NO\r\n",
        [
            Tagged(b"a", "OK", Code("APPENDUID", 38505, ((3955, 3957),)), "done"),
            Tagged(b"b", "OK", Code("COPYUID", 3, ((1, 3),), ((304, 304), (319, 320))), "done"),
            Tagged(b"c", "NO", Code("TRYCREATE"), "x"),
            Tagged(b"d", "NO", Code("OVERQUOTA"), "full"),
            Tagged(b"e", "NO", Code("LIMIT"), "l"),
            Tagged(b"f", "NO", Code("TOOBIG"), "t"),
            Tagged(b"g", "NO", Code("ALREADYEXISTS"), "a"),
            Tagged(b"h", "NO", Code("NONEXISTENT"), "n"),
            Tagged(b"i", "NO", Code("AUTHENTICATIONFAILED"), "Authentication failed."),
            Tagged(b"j", "NO", Code("UNAVAILABLE"), "u"),
            Tagged(b"k", "NO", Code("INUSE"), "i"),
            Tagged(b"l", "NO", Code("NOPERM"), "p"),
            Tagged(b"m", "NO", Code("BADCHARSET", atoms=("UTF-8",)), "c"),
            Tagged(b"n", "OK", Code("MODIFIED", uids=((7, 7), (9, 9))), "m"),
            Tagged(b"o", "OK", Code("CAPABILITY", atoms=("IMAP4rev1", "AUTH=PLAIN")), "Logged in"),
            Tagged(b"p", "BAD", None, "[odd"),
            Tagged(b"q", "NO", None, ""),
        ],
    ),
    "capability": (
        b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=NTLM UIDPLUS\r\n* ENABLED CONDSTORE QRESYNC\r\n* ENABLED\r\n",
        [
            Capability(frozenset({"IMAP4", "IMAP4REV1", "AUTH=NTLM", "UIDPLUS"})),
            Enabled(frozenset({"CONDSTORE", "QRESYNC"})),
            Enabled(frozenset()),
        ],
    ),
    "namespace": (  # RFC 2342 §5, with an extension at the second
        b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))\r\n'
        b'* NAMESPACE (("" "/" "X-PARAM" ("FLAG1"))) NIL (("#news." NIL))\r\n',
        [
            Namespaces(((b"INBOX.", "."),), ((b"user.", "."),), ((b"", "."),)),
            Namespaces(((b"", "/"),), (), ((b"#news.", None),)),
        ],
    ),
    "vanished": (
        b"* VANISHED (EARLIER) 300:310,405\r\n* VANISHED 405\r\n* 44 EXPUNGE\r\n",
        [Vanished(((300, 310), (405, 405)), True), Vanished(((405, 405),), False), Expunge(44)],
    ),
    "acl": (
        b'* ACL INBOX Fred rwipslxetad "-Fred Bloggs" wetd\r\n* MYRIGHTS INBOX lrs\r\n',
        [Acl(b"INBOX", {"Fred": "rwipslxetad", "-Fred Bloggs": "wetd"}), MyRights(b"INBOX", "lrs")],
    ),
    "quota": (
        b'* QUOTAROOT INBOX "User quota" ""\r\n* QUOTA "User quota" (STORAGE 10 512 MESSAGE 3 9)\r\n* QUOTA "" ()\r\n',
        [
            QuotaRoot(b"INBOX", (b"User quota", b"")),
            Quota(b"User quota", {"STORAGE": (10, 512), "MESSAGE": (3, 9)}),
            Quota(b"", {}),
        ],
    ),
    "metadata": (  # RFC 5464 §4.2.1 and §4.4.2; the third is ANNOTATEMORE as Cyrus has it
        b'* METADATA "INBOX" (/private/comment {3}\r\nx\ry /shared/comment NIL)\r\n* METADATA "" /shared/comment\r\n'
        b'* ANNOTATION "INBOX" "/specialuse" ("value.priv" "\\\\Sent" "value.shared" NIL)\r\n',
        [
            Metadata(b"INBOX", {"/private/comment": b"x\ry", "/shared/comment": None}),
            Metadata(b"", {"/shared/comment": None}),
            Metadata(b"INBOX", {"/private/specialuse": b"\\Sent", "/shared/specialuse": None}),
        ],
    ),
    "id": (
        b'* ID ("name" "Dovecot" "os" NIL "Version" "2.3")\r\n* ID NIL\r\n',
        [Id({"name": "Dovecot", "version": "2.3"}), Id({})],
    ),
    "continuation": (b"+ \r\n+ idling\r\n+\r\n", [Continuation(b""), Continuation(b"idling"), Continuation(b"")]),
    "bye": (
        b"* BYE [UNAVAILABLE] Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n* bye\r\n",
        [
            Bye(Code("UNAVAILABLE"), "Request is throttled. Suggested Backoff Time: 299961 milliseconds"),
            Bye(None, ""),
        ],
    ),
    "texts": (  # a text may end like a literal; control characters never reach a terminal
        b"* OK use {5}\r\na NO Quota \x1b[31m full {7}\r\n* NO \xff\xfe\r\n",
        [
            Notice("OK", None, "use {5}"),
            Tagged(b"a", "NO", None, "Quota  [31m full {7}"),
            Notice("NO", None, "\ufffd\ufffd"),
        ],
    ),
    "unknown": (
        b'* XLIST (\\Inbox) "/" "x"\r\n* 5 XYZZY\r\n* THREAD (2)(3 6 (4 23)(44 7 96))\r\n',
        [Unknown("XLIST"), Unknown("XYZZY"), Unknown("THREAD")],
    ),
    "bare-lf-and-empty-lines": (b"\r\n* 3 EXISTS\n\r\na OK done\n", [Exists(3), Tagged(b"a", "OK", None, "done")]),
}


def parse(pieces: Iterable[bytes]) -> list[Event]:
    """All events of a parser that has been greeted, with the chunks of one literal joined."""
    parser = Parser(inline=SMALL)
    found: list[Event] = []
    for piece in (HELLO, *pieces):
        parser.feed(piece)
        for event in parser.events():
            if isinstance(event, LiteralChunk) and isinstance(found[-1], LiteralChunk):
                found[-1] = LiteralChunk(found[-1].data + event.data)
            else:
                found.append(event)
    assert parser.pending == 0
    assert found[0] == Greeting("OK", None, "ready")
    return found[1:]


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_whole(name: str) -> None:
    raw, expected = TRANSCRIPTS[name]
    assert parse([raw]) == expected


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_byte_by_byte(name: str) -> None:
    raw, expected = TRANSCRIPTS[name]
    assert parse(bytes([byte]) for byte in raw) == expected


@given(st.permutations(sorted(TRANSCRIPTS)), st.lists(st.integers(0, 1 << 20), max_size=30))
def test_all_in_any_order_cut_anywhere(names: list[str], cuts: list[int]) -> None:
    raw = b"".join(TRANSCRIPTS[name][0] for name in names)
    expected = [event for name in names for event in TRANSCRIPTS[name][1]]
    at = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    assert parse(raw[start:stop] for start, stop in pairwise(at)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b"* OK [CAPABILITY IMAP4rev1 SASL-IR] Dovecot ready.\r\n",
            Greeting("OK", Code("CAPABILITY", atoms=("IMAP4rev1", "SASL-IR")), "Dovecot ready."),
        ),
        (b"* PREAUTH hi\r\n", Greeting("PREAUTH", None, "hi")),
        (b"* BYE busy\r\n", Greeting("BYE", None, "busy")),
        (b"* OK\r\n", Greeting("OK", None, "")),
    ],
)
def test_greeting(raw: bytes, expected: Greeting) -> None:
    for pieces in ([raw], [bytes([byte]) for byte in raw]):
        parser = Parser()
        found: list[Event] = []
        for piece in pieces:
            parser.feed(piece)
            found += parser.events()
        assert found == [expected]


def test_the_iterator_may_be_left_and_taken_up_again() -> None:
    parser = Parser()
    parser.feed(HELLO + b"* 1 EXISTS\r\n* 2 EXISTS\r\n")
    first = parser.events()
    assert next(first) == Greeting("OK", None, "ready")
    assert next(first) == Exists(1)
    parser.feed(b"* 3 EXISTS\r\n")
    assert list(parser.events()) == [Exists(2), Exists(3)]
