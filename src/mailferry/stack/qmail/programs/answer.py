"""Answers a message that has just been delivered with the person's own text, by the rules of RFC 3834.

    |…/answer        a line of `.qmail` behind the Maildir; the text is in the file `answer` beside it

At most one answer to a sender in seven days; none to lists, bounces, other machines, or to who did not write to the
person. Invariant: it ends with 0 whatever happens, so that nothing is delivered twice or put off on its account.
"""

from __future__ import annotations

import email.policy
import hashlib
import os
import re
import subprocess
import sys
import time
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import format_datetime, localtime, make_msgid
from pathlib import Path

from . import lookup

AGAIN_SECONDS = 7 * 86400.0
HEADER_MOST = 1 << 20
_NOBODY = re.compile(
    r"(mailer-daemon|postmaster|no-?reply|do-?not-?reply|listserv|majordomo|owner-.*|.*-(request|owner|bounces?))@",
    re.IGNORECASE,
)


def wanted(message: EmailMessage, sender: str, own: frozenset[str]) -> str:
    """Why a message gets no answer; "" if it does. `sender`: of the envelope; `own`: the person's addresses, in small
    letters."""
    if "@" not in sender or sender == "#@[]":
        return "it has no sender"
    if _NOBODY.match(sender):
        return "its sender is a machine"
    if sender.lower() in own:
        return "it is from the person"
    if str(message.get("Auto-Submitted", "no")).partition(";")[0].strip().lower() != "no":
        return "it was made by a machine (RFC 3834 §2)"
    if any(name.lower().startswith("list-") for name in message.keys()):  # noqa: SIM118 - keys may come twice
        return "it is from a list (RFC 2919, RFC 2369)"
    if str(message.get("Precedence", "")).strip().lower() in ("bulk", "junk", "list"):
        return "its precedence says so"
    if str(message.get("X-Spam", "")).strip().lower() in ("yes", "true"):
        return "it is junk"
    suppressed = {one.strip().lower() for one in str(message.get("X-Auto-Response-Suppress", "")).split(",")}
    if suppressed & {"all", "oof", "autoreply"}:
        return "Exchange asks for none (MS-OXCMAIL, X-Auto-Response-Suppress)"
    named = {
        one.addr_spec.lower()
        for name in ("To", "Cc", "Resent-To", "Resent-Cc", "Bcc")
        for header in message.get_all(name, [])
        if isinstance(header, AddressHeader)
        for one in header.addresses
    }
    return "" if named & own else "it was not written to the person (RFC 3834 §2)"


def reply(message: EmailMessage, sender: str, own: str, text: str) -> EmailMessage:
    """The answer (RFC 3834 §3)."""
    made = EmailMessage(policy=email.policy.SMTP)
    made["From"] = own
    made["To"] = sender
    subject = " ".join(str(message.get("Subject", "")).split())[:200]
    made["Subject"] = f"Auto: {subject}" if subject else "Auto: your message"
    made["Date"] = format_datetime(localtime())
    made["Message-ID"] = make_msgid(domain=own.rpartition("@")[2] or "localhost")
    made["Auto-Submitted"] = "auto-replied"
    identity = str(message.get("Message-ID", "")).strip()
    if re.fullmatch(r"<[^<>\s]+>", identity):
        made["In-Reply-To"] = identity
        made["References"] = identity
    made.set_content(text)
    return made


def due(folder: Path, sender: str, text: str, now: float) -> bool:
    """Whether this sender has had no such answer for long enough; remembers that it has one now."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(f"{sender.lower()}\0{text}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
    mark = folder / name
    try:
        if now - mark.stat().st_mtime < AGAIN_SECONDS:
            return False
    except FileNotFoundError:
        for old in folder.iterdir():
            if now - old.stat().st_mtime > AGAIN_SECONDS:
                old.unlink(missing_ok=True)
    mark.touch()
    return True


def answer(host: lookup.Host, home: Path, sender: str, raw: bytes) -> str:
    """Answer the message on standard input; what became of it, for the log. OSError and the like: as they come."""
    known = lookup.told(home)
    text = (home / "answer").read_text(encoding="utf-8")
    own = frozenset(str(one).lower() for one in [known.get("mail", ""), *known.get("addresses", [])] if one)
    message = BytesHeaderParser(policy=email.policy.default).parsebytes(raw)
    assert isinstance(message, EmailMessage)
    why = wanted(message, sender, own)
    if why:
        return f"no answer: {why}"
    if not due(host.state / "answered" / home.name, sender, text, time.time()):
        return "no answer: there was one not long ago"
    made = reply(message, sender, str(known.get("mail", "")), text)
    # with no sender of its own: nothing ever answers it, and it does not bounce (RFC 3834 §3.3)
    subprocess.run(
        [host.qmail / "bin" / "qmail-inject", "-f", "", "--", sender], input=_lf(made), check=True, capture_output=True
    )
    return "answered"


def _lf(message: EmailMessage) -> bytes:
    return message.as_bytes(policy=email.policy.default)


def main() -> int:
    """As qmail-command(8) calls it: the message on standard input, SENDER and HOME in the environment."""
    try:
        raw = sys.stdin.buffer.read(HEADER_MOST)
        said = answer(lookup.read_host(), Path(os.environ["HOME"]), os.environ.get("SENDER", ""), raw)
    except Exception as error:  # noqa: BLE001 - the message is delivered: nothing here may put it off
        said = f"no answer: {type(error).__name__}: {error}"
    print(said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
