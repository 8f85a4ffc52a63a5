"""What an administrator would write around libpff: every message of a PST file as a file of its own."""

from __future__ import annotations

import sys
from email import policy
from email.message import EmailMessage
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pypff

_MADE = {"content-type", "mime-version", "content-transfer-encoding"}


def main() -> None:
    """Arguments: the PST file, and the directory to write to."""
    file = pypff.file()
    file.open(sys.argv[1])
    _folder(file.get_root_folder(), Path(sys.argv[2]))


def _folder(folder: Any, place: Path) -> None:
    for one in folder.sub_messages:
        (place / f"{one.identifier}.eml").write_bytes(_message(one).as_bytes(policy=policy.SMTP))
    for one in folder.sub_folders:
        _folder(one, place)


def _message(one: Any) -> EmailMessage:
    found = EmailMessage(policy=policy.SMTP)
    for name, value in HeaderParser().parsestr(one.transport_headers or "").items():
        if name.lower() not in _MADE:
            found[name] = value
    found.set_content(_text(one.plain_text_body))
    if one.html_body:
        found.add_alternative(_text(one.html_body), subtype="html")
    for number in range(one.number_of_attachments):
        part = one.get_attachment(number)
        data = part.read_buffer(part.get_size())
        found.add_attachment(data, maintype="application", subtype="octet-stream", filename=f"file-{number}")
    return found


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


if __name__ == "__main__":
    main()
