"""Letters to the people of a wave, before and after: the use case behind `mailferry wave letters`.

Rendered from templates in each one's language and handed to Postfix over SMTP. Invariants: the ledger says before a
letter is handed over that it will be, and after that it was; one of which nobody knows whether it was taken (the
process was killed, or the connection broke at that moment) is told and not sent again by itself; so each comes once at
most, and what was refused is sent by the next call.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from enum import Enum
from pathlib import Path
from typing import Any

from mailferry.config.waves import Letters
from mailferry.directory import addresses
from mailferry.errors import ConfigError, Temporary, UserError
from mailferry.ledger import letters as records
from mailferry.ledger import waves as ledger_waves
from mailferry.ledger.store import Ledger
from mailferry.model.account import ImapAccount
from mailferry.model.recipient import RecipientKind
from mailferry.model.wave import ON_EXCHANGE, Move, MoveState, Wave
from mailferry.net import ldap
from mailferry.ops.wave import Site, chosen, opened
from mailferry.waves.people import Known, read_one

TEMPLATES = Path(__file__).with_name("templates") / "letters"
TIMEOUT = 60.0
_DONE = frozenset({MoveState.RELEASED, MoveState.SWEPT, MoveState.DONE})
_READERS = (RecipientKind.MAILBOX.value, RecipientKind.SHARED.value)


class When(Enum):
    """Which letter: to whom will move, or has moved."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter. `language`: of the template that was found."""

    move: Move
    language: str
    message: EmailMessage


@dataclass(slots=True)
class Sent:
    """Addresses. `doubtful`: nobody knows whether those were taken; `refused`: (address, why); `before`: had it
    already; `no_reader`: rooms and equipment, and who is not in the state for this letter."""

    sent: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def send(
    site: Site, name: str, when: When, only: Sequence[str], *, again: bool = False, dry_run: bool = False
) -> tuple[Sent, list[Letter]]:
    """Send a wave's letters to those who have not got them; in a dry run, what would be sent. `again`: also to those of
    whom nobody knows. Temporary: the server cannot be reached; ConfigError: a template is wrong, or nothing is set."""
    settings = _settings(site)
    done, letters = Sent(), []
    with opened(site) as ledger:
        wave = ledger_waves.named(ledger, name)
        due = []
        states = records.states(ledger, when.value)
        for move in chosen(ledger_waves.moves(ledger, wave.id), only, name):
            state = states.get(move.id)
            if not _concerns(move, when):
                done.passed_over.append(move.mail)
            elif state is records.State.SENT:
                done.before.append(move.mail)
            elif state is records.State.INTENDED and not again:
                done.doubtful.append(move.mail)
            else:
                due.append(move)
        with ldap.Connection(site.directory) as connection:
            people = site.routes.people(connection)
            letters = [_letter(site, settings, wave, move, when, read_one(people, move.source_id)) for move in due]
        if not dry_run:
            _hand_over(ledger, settings, letters, when, done, again)
    return done, letters


def _hand_over(
    ledger: Ledger, settings: Letters, letters: Sequence[Letter], when: When, done: Sent, again: bool
) -> None:
    """One after the other, at the pace of the settings; the ledger is told before and after each."""
    if not letters:
        return
    host, _, port = settings.smtp.rpartition(":")
    with _connected(host.strip("[]"), int(port)) as client:
        for number, one in enumerate(letters):
            if number:
                time.sleep(60 / settings.per_minute)
            if records.intend(ledger, one.move, when.value, str(one.message["Message-ID"]), again=again):
                _one(ledger, client, one, when, done)
            else:  # another process has just sent it
                done.before.append(one.move.mail)


def _one(ledger: Ledger, client: smtplib.SMTP, one: Letter, when: When, done: Sent) -> None:
    try:
        client.send_message(one.message)
    except smtplib.SMTPServerDisconnected as error:  # it may have taken it
        done.doubtful.append(one.move.mail)
        raise Temporary(f"the connection broke: {error}", about=one.move.mail, advice=_DOUBT) from error
    except smtplib.SMTPException as error:
        why = _words(error)
        records.settle(ledger, one.move, when.value, records.State.REFUSED, why)
        done.refused.append((one.move.mail, why))
        with suppress(smtplib.SMTPException):
            client.rset()
    except OSError as error:
        done.doubtful.append(one.move.mail)
        raise Temporary(f"the connection broke: {error}", about=one.move.mail, advice=_DOUBT) from error
    else:
        records.settle(ledger, one.move, when.value, records.State.SENT)
        done.sent.append(one.move.mail)


_DOUBT = "run it again for all others; look whether this one has come, else send it with --again"


def _connected(host: str, port: int) -> smtplib.SMTP:
    try:
        return smtplib.SMTP(host, port, timeout=TIMEOUT)
    except (OSError, smtplib.SMTPException) as error:
        raise Temporary(f"it takes no letters: {error}", about=f"{host}:{port}") from error


def _words(error: smtplib.SMTPException) -> str:
    """The server's own words."""
    answer: tuple[int, bytes | str]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answer = next(iter(error.recipients.values()))
    elif isinstance(error, smtplib.SMTPResponseException):
        answer = (error.smtp_code, error.smtp_error)
    else:
        return str(error)
    code, said = answer
    return f"{code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"


def _concerns(move: Move, when: When) -> bool:
    if move.kind not in _READERS:
        return False
    if when is When.AFTER:
        return move.state in _DONE
    return move.state in ON_EXCHANGE and move.state is not MoveState.CANCELLED


def _letter(site: Site, settings: Letters, wave: Wave, move: Move, when: When, one: Known) -> Letter:
    text, language = _template(settings, when, one.language or settings.language)
    account = site.target(move)
    complete = wave.settings.get("complete")
    values = {
        "name": one.recipient.name or move.mail,
        "mail": move.mail,
        "wave": wave.name,
        "when": datetime.fromtimestamp(complete).strftime("%Y-%m-%d %H:%M") if complete else "",
        "server": account.host if isinstance(account, ImapAccount) else move.store,
        "user": move.target_user,
        "sender": settings.name or settings.sender,
    }
    subject, body = _rendered(text, values, f"{when.value}.{language}.txt")
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(settings.name, addr_spec=settings.sender)
    message["To"] = Address(" ".join(values["name"].split()), addr_spec=move.mail)
    message["Subject"] = subject
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = f"<wave-{wave.id}-{move.id}-{when.value}@{addresses.domain_of(settings.sender)}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message["X-Auto-Response-Suppress"] = "All"  # [MS-OXCMAIL]
    message["Content-Language"] = language
    message.set_content(body)
    return Letter(move, language, message)


def _template(settings: Letters, when: When, wanted: str) -> tuple[str, str]:
    """The text and its language: the wanted one (`de-AT`, else `de`), else the settings', else English."""
    for language in dict.fromkeys(_languages(wanted, settings.language)):
        for folder in filter(None, (settings.templates, TEMPLATES)):
            path = folder / f"{when.value}.{language}.txt"
            with suppress(FileNotFoundError):
                try:
                    return path.read_text(encoding="utf-8"), language
                except (PermissionError, UnicodeDecodeError, IsADirectoryError) as error:
                    raise ConfigError(f"it cannot be read: {error}", about=str(path)) from error
    raise ConfigError("there is no template", about=f"{when.value}.{settings.language}.txt")


def _languages(*wanted: str) -> Iterator[str]:
    for one in (*wanted, "en"):
        whole = "".join(each for each in one.lower() if each.isalnum() or each == "-")[:20]
        if whole:
            yield whole
            yield whole.partition("-")[0]


def _rendered(text: str, values: Mapping[str, Any], about: str) -> tuple[str, str]:
    """Subject and body. ConfigError: the template is wrong."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    try:
        page = SandboxedEnvironment(undefined=StrictUndefined).from_string(text).render(values)
    except TemplateError as error:
        raise ConfigError(f"the template is wrong: {error}", about=about) from error
    first, _, body = page.partition("\n")
    key, _, subject = first.partition(":")
    if key.strip().lower() != "subject" or not subject.strip():
        raise ConfigError("its first line is no subject", about=about, advice="Subject: Your mailbox has moved")
    return " ".join(subject.split()), body.strip() + "\n"


def _settings(site: Site) -> Letters:
    if site.coexist.letters is None:
        raise UserError("letters are not set up", about="coexist.letters", advice="docs/waves.md shows how to set them")
    if wrong := addresses.fault(site.coexist.letters.sender):
        raise ConfigError(f"it is no address: {wrong}", about="coexist.letters.sender")
    return site.coexist.letters
