"""The report's words: why something did not come or differs, and what can be done, for people who do not run servers.
Pure data; nothing here is read by a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mailferry.model.message import Reason
from mailferry.verify.compare import Difference
from mailferry.verify.score import Score


class Words(NamedTuple):
    """`title`: a few words. `why`: one sentence. `advice`: what can be done; empty if nothing needs to be."""

    title: str
    why: str
    advice: str = ""


REASONS: Mapping[Reason, Words] = {
    Reason.UNREADABLE: Words(
        "The old server could not give it",
        "The old server answered with an error when it was asked for the message.",
        "Open the message in the old mailbox; if it opens there, move it to another folder and back and run the copy "
        "again, otherwise it is damaged on the old server.",
    ),
    Reason.FAKE: Words(
        "Exchange could not render it",
        "Exchange gave a notice in place of the message, because it cannot turn this item into an internet message.",
        "Open the item in Outlook and save or forward it, or repair the old mailbox, and run the copy again.",
    ),
    Reason.BREAKS_CONNECTION: Words(
        "Reading it ends the connection",
        "Each attempt to bring the message made a server drop the connection.",
        "Look at the message in the old mailbox: it is probably damaged; delete it or save it there by hand.",
    ),
    Reason.REFUSED: Words(
        "The new server refused it",
        "The new server did not accept the message.",
        "Its own words stand beside each message; its log may say more.",
    ),
    Reason.TOO_LARGE: Words(
        "Too large for the new server",
        "The message is larger than the new server accepts.",
        "Raise the size limit of the new server and run the copy again, or save its attachments elsewhere.",
    ),
    Reason.QUOTA: Words(
        "The new mailbox is full",
        "The new mailbox has reached its quota.",
        "Raise the quota of the new mailbox and run the copy again: it continues where it stopped.",
    ),
    Reason.NUL: Words(
        "Holds characters that the new server refuses (NUL)",
        "The message holds NUL characters, which standards forbid and the new server does not accept.",
        "Run the copy again with --repair: they become spaces, and each such message is listed.",
    ),
    Reason.BARE_NEWLINE: Words(
        "Holds line ends that the new server refuses",
        "Some lines of the message end in a way that standards forbid and the new server does not accept.",
        "Run the copy again with --repair: the line ends are corrected, and each such message is listed.",
    ),
    Reason.KEYWORDS: Words(
        "Labels that the new server cannot hold",
        "The message came, but the new server does not keep some of its labels (keywords).",
    ),
    Reason.FLAGS: Words(
        "Marks that the new server cannot hold",
        "The message came, but the new server does not keep some of its marks, such as read or answered.",
    ),
    Reason.DATE: Words(
        "Without a date of arrival",
        "The message came, but the old server did not say when it had arrived. Mail programs that sort by arrival "
        "show it as of 1970; the date that the sender wrote is unchanged.",
    ),
    Reason.FOLDER: Words(
        "A folder that could not be copied",
        "A folder could not be opened on the old server, or not be made on the new one.",
        "Its message says which; after that is solved run the copy again. Everything else has been copied.",
    ),
    Reason.PART: Words(
        "A part that could not be read",
        "The message came, but something in it is damaged where it is kept, or cannot be made yet.",
        "What it is stands beside each message; open the message in the old mailbox if it matters.",
    ),
    Reason.DAMAGE: Words(
        "Kept in a damaged file",
        "The file that this folder was read from is damaged, so that some of what it held may be lost.",
        "Compare with another copy of the file, or let Outlook's scanpst.exe repair one and copy from that too.",
    ),
    Reason.ITEM_CLASS: Words(
        "Not a message",
        "Calendar entries, contacts, tasks and notes are no messages, wherever they are kept, and were left out.",
        "They are listed here, so that they can be brought by a door of their own.",
    ),
    Reason.DUPLICATE: Words(
        "A message that could not be removed",
        "The message moved, was deleted or came twice, and the new server cannot remove single messages.",
        "Delete the surplus one by hand in the new mailbox.",
    ),
    Reason.ACL: Words(
        "Access rights that were not carried",
        "The new server cannot hold some rights that other people have on this folder.",
        "Grant the rights in the new system by hand, where they are still needed.",
    ),
    Reason.METADATA: Words(
        "Notes on a folder that were not carried",
        "The new server cannot hold annotations that the old one has on this folder.",
    ),
    Reason.SUBSCRIPTION: Words(
        "A folder that could not be subscribed",
        "The new server did not accept the subscription, so some mail programs will not show the folder at once.",
        "Subscribe to the folder in the mail program.",
    ),
    Reason.UIDL: Words(
        "POP3 identifiers that were not kept",
        "Mail programs that use POP3 and leave mail on the server will download these messages again.",
    ),
    Reason.SAFETY: Words(
        "Left alone for safety",
        "Something looked wrong, and Mailferry asks before it goes on.",
        "Answer the question that stands beside it, and run the copy again.",
    ),
}

DIFFERENCES: Mapping[Difference, Words] = {
    Difference.MISSING: Words(
        "Missing in the new mailbox",
        "These were in the new mailbox after the copy, and are not there now.",
        "Ask whether somebody deleted or moved them there. If not, do not switch over.",
    ),
    Difference.UNRECORDED: Words(
        "Neither copied nor explained",
        "The old mailbox shows these, and Mailferry has no record of them.",
        "Run the copy again, then verify again. If they stay, do not switch over and report it as a defect.",
    ),
    Difference.UNSETTLED: Words(
        "A run ended while sending these",
        "They may or may not have arrived.",
        "Run the copy again: it looks, and sends only what is not there. Then verify again.",
    ),
    Difference.DUPLICATE: Words(
        "In the new mailbox twice",
        "The new mailbox holds these more often than the old one.",
        "Run the copy again, which removes doubles that an ended run left; if they stay, report it as a defect.",
    ),
    Difference.CONTENT: Words(
        "Content differs",
        "The content in the new mailbox is not what left the old one.",
        "Do not switch over: find out what changes messages on the new server (a filter, a virus scanner).",
    ),
    Difference.UNREADABLE: Words(
        "The new server cannot give them",
        "The new mailbox lists these, but does not give their content.",
        "Look into the new server's log: a file may be damaged.",
    ),
    Difference.FOLDER_MISSING: Words(
        "A folder is missing",
        "The folder was made in the new mailbox, and is not there now.",
        "Ask whether somebody deleted or renamed it there. Run the copy again.",
    ),
    Difference.FOLDER_UNKNOWN: Words(
        "A folder that was not looked at",
        "The old mailbox has a folder of which Mailferry has no record: it is new, or the last pass did not end.",
        "Run the copy again, then verify again.",
    ),
    Difference.FOLDER_UNREADABLE: Words(
        "A folder could not be opened",
        "It could be opened during the copy, and not now.",
        "Verify again; if it stays so, look into that server's log.",
    ),
    Difference.RENUMBERED: Words(
        "A folder was renumbered",
        "A server gave all messages of the folder new numbers, so that they cannot be compared.",
        "If it was rebuilt or restored, run the copy with --accept uidvalidity, then verify again.",
    ),
    Difference.FAILED: Words("Did not come", "These could not be copied, for the reason that stands beside them."),
    Difference.FOLDER_FAILED: Words("A folder did not come", "It could not be copied, for the reason given."),
    Difference.ARRIVED_SINCE: Words(
        "Arrived after the last pass",
        "They came to the old mailbox after Mailferry had looked for the last time.",
        "Run the copy again: it brings only what is new.",
    ),
    Difference.ADOPTED_DIFFERS: Words(
        "Was there before, with other content",
        "Something else brought these earlier: the same headers, but not the same bytes. Exchange may also render a "
        "message differently each time.",
        "Open one or two in both mailboxes. If they are the same to a reader, approve them.",
    ),
    Difference.FLAGS: Words(
        "Marks differ",
        "Marks such as read, answered or flagged are not the same on both sides.",
        "If people already use the new mailbox, this is their doing; otherwise run the copy again.",
    ),
    Difference.KEYWORDS: Words(
        "Labels differ",
        "The labels (keywords) are not the same on both sides.",
        "If people already use the new mailbox, this is their doing; otherwise run the copy again.",
    ),
    Difference.DATE: Words(
        "Date of arrival differs",
        "Mail programs that sort by arrival will show these in another place.",
        "Check that the new server keeps the date it is given (INTERNALDATE).",
    ),
    Difference.SUBSCRIPTION: Words(
        "Not subscribed",
        "Some mail programs show only subscribed folders.",
        "Subscribe to the folder in the mail program.",
    ),
    Difference.SPECIAL_USE: Words(
        "Not marked as a special folder",
        "Mail programs find Sent, Drafts and the like by this mark, or by their name.",
        "Choose the folder once in the mail program's settings, or set the mark on the new server.",
    ),
    Difference.NAMED: Words("Carried with a difference", "Known since the copy; each says what is different."),
    Difference.ALTERED: Words(
        "Stored in another form",
        "The new server replaces some bytes that it cannot hold; everything else in these messages is equal.",
    ),
    Difference.ADOPTED_BY_HEADERS: Words(
        "Were there before, recognised by their headers",
        "Something else brought these earlier; their content was not compared.",
    ),
    Difference.EXTRA: Words(
        "Only in the new mailbox",
        "Mailferry did not bring these: new mail, or what people put there.",
    ),
    Difference.ZONE: Words("Same moment, other zone", "The instant of arrival is the same; only its zone differs."),
    Difference.KEPT: Words(
        "Gone from the old mailbox, kept in the new one",
        "They were deleted at the source after they had been copied.",
    ),
}

VERDICTS: Mapping[Score, str] = {
    Score.PERFECT: "Everything is there, and nothing differs.",
    Score.GOOD: "Everything is there; what differs is named below and cannot be otherwise on the new server.",
    Score.INVESTIGATE: "Something did not come or differs: a named person has to look at it and approve it.",
    Score.POOR: "Something is missing without a reason, differs, or is there twice: do not switch over.",
}

NOT_VERIFIED = "This mailbox has been copied, but not verified since: run the verification."

EXCLUDED: Mapping[str, str] = {
    "view": "only shows messages that are in other folders too",
    "container": "holds no messages",
    "include": "not among the folders asked for",
    "special:calendar": "calendar: not mail; it goes where --groupware says",
    "special:contacts": "contacts: not mail; they go where --groupware says",
    "special:tasks": "tasks: not mail; they go where --groupware says",
    "special:notes": "notes: not mail; they go where --groupware says",
    "special:journal": "journal: not mail, and nowhere kept but in Exchange",
    "special:outbox": "messages waiting to be sent by the old program",
    "special:files": "not a folder of messages",
}


def excluded(rule: str) -> str:
    """Why a folder was left out, by the name of the rule."""
    if rule in EXCLUDED:
        return EXCLUDED[rule]
    if rule.startswith("exclude:"):
        return f"left out by the pattern {rule.removeprefix('exclude:')}"
    return f"left out by the rule {rule}" if not rule.startswith("special:") else "Outlook's own record keeping"
