"""What a line of Postfix's or Dovecot's log says happened to a message. Pure.

Takes nothing but the fields named in `Event`: a line that would show a subject, such as one of header_checks, is not
understood. Senders choose Message-IDs and other servers their replies, so each pattern is anchored at both ends, and
what strangers write stands where no other field can follow. Invariant: no text makes a line an event of another kind.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from mailferry.maillog.lines import Line


class Kind(Enum):
    """The value is what JSON and people see."""

    ACCEPTED = "accepted"  # by smtpd, from `where`, or handed in on the host
    NAMED = "named"  # its Message-ID
    QUEUED = "queued"  # its sender and size
    TRIED = "tried"  # a delivery to `recipient`: `status` is sent, deferred, bounced, …
    LEFT = "left the queue"  # `status` is `deleted` where a person or Mailferry (a probe) took it out
    REFUSED = "refused"
    RETURNED = "returned"  # a notification was sent to the sender
    STORED = "stored"  # in `where`, a folder of `recipient`, as Dovecot knows them
    CHANGED = "changed"  # somebody's client, or we, did `status` with it in `where`


@dataclass(frozen=True, slots=True)
class Event:
    """`queue_id`, `message_id` (with its brackets), `sender`, `recipient`: "" where the line does not say. `original`:
    the recipient before aliases. `where`: client, relay or folder. `status`: one word. `text`: the server's words."""

    at: float
    host: str
    kind: Kind
    queue_id: str = ""
    message_id: str = ""
    sender: str = ""
    recipient: str = ""
    original: str = ""
    where: str = ""
    status: str = ""
    text: str = ""
    size: int | None = None


_QUEUE = re.compile(r"([0-9A-F]{6,}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}|NOQUEUE): ")
"""Short and long queue ids (postconf(5), enable_long_queue_ids)."""
_TRIED = re.compile(
    r"to=<(?P<to>.*?)>, (?:orig_to=<(?P<orig>.*?)>, )?relay=(?P<relay>[^,]*), (?:conn_use=\d+, )?"
    r"delay=[\d.]+, delays=[\d./]+, dsn=(?P<dsn>[\d.]+), status=(?P<status>[a-z]+)(?: \((?P<text>.*)\))?"
)
_QUEUED = re.compile(r"from=<(.*)>, size=(\d+), nrcpt=\d+ \(queue active\)")
_EXPIRED = re.compile(r"from=<(.*)>, status=(expired|force-expired), returned to sender")
_REFUSED = re.compile(
    r"(?:milter-)?reject: ([A-Z-]+) from (\S+): ([245][\d.]* .*?);(?: from=<(.*?)>)?(?: to=<(.*?)>)?(?: proto=\S+)?"
    r"(?: helo=<.*>)?"
)
_NOTICE = re.compile(r"sender (non-delivery) notification: ([0-9A-Za-z]+)")
_PICKUP = re.compile(r"uid=\d+ from=<(.*)>")

_WHO = re.compile(r"[a-z][a-z0-9-]*(?:\((?P<user>.*?)\))?(?:<[^>]*>)*: (?:(?:Info|Warning|Error): )?")
_MSGID = r"msgid=(?P<id>.*): "
_SIZE = re.compile(r" size=\d+$")
"""What deliver_log_format of our renderer adds."""
_SAVED = re.compile(rf"(?:sieve: )?{_MSGID}(?:saved mail to|stored mail into mailbox) '?(?P<box>.*?)'?")
_OTHER = re.compile(rf"sieve: {_MSGID}(?P<what>forwarded to|discarded|marked message|rejected)(?P<rest>.*)")
_FAILED = re.compile(rf"(?:sieve: )?{_MSGID}(?:save|store) failed to (?P<box>.*?): (?P<text>.*)")
_DONE = re.compile(
    r"(?P<what>save|append|delete|undelete|expunge|copy from .*?): "
    r"box=(?P<box>.*?), uid=\d+, msgid=(?P<id>.*), size=\d+"
)


def event(line: Line) -> Event | None:
    """What the line says, or None where it says nothing of a message."""
    if line.program == "dovecot" or line.program.startswith("dovecot/"):
        return _dovecot(line)
    if line.program.startswith("postfix"):
        return _postfix(line)
    return None


def _postfix(line: Line) -> Event | None:
    queue = _QUEUE.match(line.text)
    if queue is None:
        return None
    at, host, number, text = line.at, line.host, queue[1], line.text[queue.end() :]
    daemon = line.program.rpartition("/")[2]
    queue_id = "" if number == "NOQUEUE" else number
    if (found := _REFUSED.fullmatch(text)) is not None and daemon in ("smtpd", "cleanup"):
        said = Event(at, host, Kind.REFUSED, queue_id, where=found[2], status=found[1], text=found[3])
        return replace(said, sender=found[4] or "", recipient=found[5] or "")
    if not queue_id:
        return None
    if daemon == "cleanup":
        if text.startswith("message-id="):
            return Event(at, host, Kind.NAMED, queue_id, message_id=text.removeprefix("message-id=").strip())
    elif daemon in ("smtpd", "qmqpd"):
        if text.startswith("client="):
            return Event(at, host, Kind.ACCEPTED, queue_id, where=text.removeprefix("client=").partition(",")[0])
    elif daemon == "pickup":
        if (found := _PICKUP.fullmatch(text)) is not None:
            return Event(at, host, Kind.ACCEPTED, queue_id, sender=found[1], where="this host")
    elif daemon in ("qmgr", "nqmgr", "postsuper"):
        if text == "removed":
            return Event(at, host, Kind.LEFT, queue_id, status="deleted" if daemon == "postsuper" else "")
        if (found := _QUEUED.fullmatch(text)) is not None:
            return Event(at, host, Kind.QUEUED, queue_id, sender=found[1], size=int(found[2]))
        if (found := _EXPIRED.fullmatch(text)) is not None:
            return Event(at, host, Kind.RETURNED, queue_id, sender=found[1], status=found[2])
    elif daemon == "bounce":
        if (found := _NOTICE.fullmatch(text)) is not None:
            return Event(at, host, Kind.RETURNED, queue_id, status=found[1], where=found[2])
    elif (found := _TRIED.fullmatch(text)) is not None:
        tried = Event(at, host, Kind.TRIED, queue_id, recipient=found["to"], original=found["orig"] or "")
        return replace(tried, where=found["relay"], status=found["status"], text=found["text"] or "")
    return None


def _dovecot(line: Line) -> Event | None:
    who = _WHO.match(line.text)
    if who is None or not who["user"]:
        return None
    user, text = who["user"], line.text[who.end() :]
    for pattern in (_SAVED, _FAILED, _OTHER, _DONE):
        if (found := pattern.fullmatch(text)) is not None:
            break
    else:
        return None
    about = Event(line.at, line.host, Kind.CHANGED, message_id=_SIZE.sub("", found["id"]).strip(), recipient=user)
    if pattern is _SAVED:
        return replace(about, kind=Kind.STORED, where=found["box"])
    if pattern is _FAILED:
        return replace(about, kind=Kind.TRIED, where=found["box"], status="failed", text=found["text"])
    if pattern is _OTHER:
        return replace(about, status=f"Sieve: {found['what']}")
    return replace(about, where=found["box"], status=found["what"])
