"""Reads mailbox addresses (`imaps://user@host`, `maildir:PATH`) and account lists (CSV). Connects to nothing.

Invariant: no secret is ever taken from an address or a list, only references to secrets (see `secret.py`).
"""

from __future__ import annotations

import csv
import io
import os
import pwd
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

from mailferry.errors import MailferryError, UserError
from mailferry.model.account import (
    ITEM_STORES,
    Access,
    Account,
    Application,
    DavAccount,
    EwsAccount,
    GraphAccount,
    HttpLogin,
    IcsAccount,
    ImapAccount,
    MaildirAccount,
    MaildirFlavour,
    Mechanism,
    PstAccount,
    Tls,
)
from mailferry.secret import Secret

FORMS = (
    "imaps://user@host[:port], imap://user@host[:port] (STARTTLS), ews://mailbox@host, graph:mailbox, maildir:PATH, "
    "pst:FILE, ics:DIRECTORY, davs://user@host (or caldavs://, carddavs://)"
)
PORTS = {"imaps": 993, "imap": 143}
COLUMNS = {"source_user", "target_user", "source_password", "target_password", "owner"}
_ADDRESS = re.compile(
    r"(imaps?)://(?:(?P<user>[^?]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@/:?]+)(?::(?P<port>\d+))?/?(?:\?(?P<options>.*))?"
)
_EWS = re.compile(
    r"ews://(?:(?P<user>[^?/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@/:?]+)(?::(?P<port>\d+))?/?(?:\?(?P<options>.*))?"
)
_DAV = re.compile(
    r"(?P<service>cal|card|)dav(?P<tls>s?)://(?:(?P<user>[^?/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@/:?]+)(?::(?P<port>\d+))?"
    r"(?P<path>/[^?]*)?(?:\?(?P<options>.*))?"
)
E = TypeVar("E", bound=Enum)
_FIELD = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True, slots=True)
class Pair:
    """One mailbox to bring: from where to where."""

    source: Account
    target: Account
    stands_for: str | None = None
    """The key of the live mailbox that `source` is a backup of: the ledger then knows it under that name."""

    groupware: tuple[Account, ...] = ()
    """Where events, contacts, tasks and notes go beside the messages."""

    people: tuple[str, str] | None = None
    """The user on either side, where an account list says that they are one person."""

    @property
    def source_key(self) -> str:
        return self.stands_for or self.source.key

    @property
    def shared(self) -> bool:
        """Whether other sources go to the same target: a PST file that goes below a folder of its own."""
        return isinstance(self.source, PstAccount) and bool(self.source.below)


def parse_address(text: str, *, user: str | None = None, secret: Secret | None = None) -> Account:
    """The account that an address names. `user` fills `{user}`, `{localpart}` and `{domain}`, and stands in for a
    missing user.

    Options follow `?`, joined by `&`: `tls=none`, `verify=no`, `ca=FILE`, `auth=MECHANISM`, `admin=USER` (SASL
    authzid), `login=TEXT` (sent as user name, may hold `{user}`: `ACME\\\\admin\\\\{user}`), `certificate=FILE`,
    `timeout=SECONDS`, `pop3=PORT`; for a Maildir `flavour=dovecot|courier|qmail`, `owner=USER`; for a PST file
    `owner=ADDRESS[,ADDRESS]`, `people=FILE`, `domain=DOMAIN`, `below=FOLDER`; for EWS and Graph as `_ews` and
    `_graph` read them. UserError says what is wrong with which address.
    """
    text = _filled(text, user)
    if text.startswith("maildir:"):
        return _maildir(text)
    if text.startswith("pst:"):
        return _pst(text)
    if text.startswith("graph:"):
        return _graph(text, secret)
    if (found := _EWS.fullmatch(text)) is not None:
        return _ews(text, found, user, secret)
    if text.startswith("ics:"):
        return _ics(text)
    if (found := _DAV.fullmatch(text)) is not None:
        return _dav(text, found, user, secret)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise UserError("not an address that Mailferry knows", about=_shown(text), advice=f"use one of: {FORMS}")
    name = unquote(found["user"] or "") or user
    if not name:
        raise UserError("it names no user", about=text, advice=f"use one of: {FORMS}, or --accounts FILE")
    if ":" in (found["user"] or ""):
        raise UserError(
            "a password must not stand in an address: other users of this machine can see it",
            about=_shown(text),
            advice="leave it out and answer the question, or give --source-password / --target-password env:NAME",
        )
    options = dict(parse_qsl(found["options"] or "", keep_blank_values=True))
    port = int(found["port"] or PORTS[found[1]])
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port", about=text)
    application = _application(options, text)
    account = ImapAccount(
        application=application,
        host=found["host"].strip("[]"),
        port=port,
        user=name,
        secret=secret,
        admin=options.pop("admin", None),
        login=options.pop("login", "").replace("{user}", name) or None,
        mechanism=_choice(Mechanism, options.pop("auth", "auto"), "auth", text),
        tls=_tls(found[1], options.pop("tls", ""), text),
        verify=_yes(options.pop("verify", "yes"), "verify", text),
        ca_file=options.pop("ca", None),
        client_certificate=options.pop("certificate", None),
        timeout=_number(options.pop("timeout", "60"), "timeout", text),
        pop3_port=int(_number(options.pop("pop3"), "pop3", text)) if "pop3" in options else None,
    )
    _nothing_left(options, text)
    return account


def _ews(text: str, found: re.Match[str], user: str | None, secret: Secret | None) -> EwsAccount:
    """Options: `admin=USER` (who authenticates), `access=impersonation|delegate`, `login=TEXT` (may hold `{user}`),
    `auth=auto|basic|ntlm|kerberos|oauth`, `archive=yes`, `recoverable=yes`, `public=yes`, `autodiscover=yes`,
    `path=PATH`, `requests=NUMBER`, those of an application (`_application`) and those of connections."""
    options = dict(parse_qsl(found["options"] or "", keep_blank_values=True))
    host, name = found["host"].strip("[]"), unquote(found["user"] or "") or user or ""
    discover = _yes(options.pop("autodiscover", "no"), "autodiscover", text)
    if ":" in (found["user"] or ""):
        raise UserError(
            "a password must not stand in an address", about=_shown(text), advice="give --source-password env:NAME"
        )
    if discover and name and "@" not in name:
        name = f"{name}@{host}"
    if "@" not in name:
        advice = "ews://alice@acme.example@mail.acme.example"
        raise UserError("a mailbox at EWS is named by its SMTP address", about=text, advice=advice)
    tls, path = options.pop("tls", "yes"), options.pop("path", "/EWS/Exchange.asmx")
    if tls not in ("yes", "none"):
        raise UserError(f"tls={tls} is not known", about=text, advice="EWS speaks HTTPS; ?tls=none is for tests")
    port = int(found["port"] or (443 if tls == "yes" else 80))
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port", about=text)
    application = _application(options, text)
    account = EwsAccount(
        user=name,
        host=host,
        port=port,
        secret=secret,
        admin=options.pop("admin", None),
        access=_choice(Access, options.pop("access", "impersonation"), "access", text),
        login=options.pop("login", "").replace("{user}", name) or None,
        mechanism=_choice(HttpLogin, options.pop("auth", "auto"), "auth", text),
        tls=tls == "yes",
        verify=_yes(options.pop("verify", "yes"), "verify", text),
        ca_file=options.pop("ca", None),
        client_certificate=options.pop("certificate", None),
        timeout=_number(options.pop("timeout", "120"), "timeout", text),
        application=application,
        path=path if path.startswith("/") else f"/{path}",
        discover=discover,
        archive=_yes(options.pop("archive", "no"), "archive", text),
        recoverable=_yes(options.pop("recoverable", "no"), "recoverable", text),
        public=_yes(options.pop("public", "no"), "public", text),
        requests=min(20, max(1, int(_number(options.pop("requests", "3"), "requests", text)))),
    )
    _nothing_left(options, text)
    return account


def _graph(text: str, secret: Secret | None) -> GraphAccount:
    """`graph:alice@acme.example?tenant=…&client=…`. Options: `tenant=`, `client=`, `certificate=FILE`,
    `auth=secret|token` (what the secret is: the application's, or an access token), `host=HOST[:PORT]`,
    `authority=HOST` (national clouds), `requests=NUMBER`, and those of connections."""
    name, _, rest = text.removeprefix("graph:").partition("?")
    options = dict(parse_qsl(rest, keep_blank_values=True))
    auth = options.pop("auth", "secret")
    if auth not in ("secret", "token"):
        raise UserError(f"auth={auth} is not known", about=text, advice="auth is one of: secret, token")
    application = _application(options, text)
    if not name or (auth == "secret" and application is None):
        advice = "graph:alice@acme.example?tenant=acme.example&client=APPLICATION-ID (docs/graph.md)"
        raise UserError(f"it names no {'application' if name else 'mailbox'}", about=text, advice=advice)
    host, _, port = options.pop("host", "graph.microsoft.com").partition(":")
    account = GraphAccount(
        user=unquote(name),
        application=application,
        secret=secret,
        host=host,
        port=int(_number(port or "443", "host", text)),
        verify=_yes(options.pop("verify", "yes"), "verify", text),
        ca_file=options.pop("ca", None),
        timeout=_number(options.pop("timeout", "120"), "timeout", text),
        requests=min(4, max(1, int(_number(options.pop("requests", "4"), "requests", text)))),
    )
    _nothing_left(options, text)
    return account


def _application(options: dict[str, str], text: str) -> Application | None:
    """`tenant=`, `client=`, `certificate=FILE`, `authority=HOST`; None where there is no `tenant`."""
    if "tenant" not in options:
        return None
    if not options.get("client"):
        raise UserError("it names no client", about=text, advice="client=APPLICATION-ID (docs/graph.md)")
    return Application(
        options.pop("tenant"),
        options.pop("client"),
        options.pop("certificate", None),
        options.pop("authority", "login.microsoftonline.com"),
    )


def _maildir(text: str) -> MaildirAccount:
    path, _, rest = text.removeprefix("maildir:").partition("?")
    if not path or "\0" in path:
        raise UserError("it names no directory", about=_shown(text), advice="maildir:/path/to/Maildir")
    options = dict(parse_qsl(rest, keep_blank_values=True))
    flavour = _choice(MaildirFlavour, options.pop("flavour", "dovecot"), "flavour", text)
    owner = options.pop("owner", None)
    ids = None
    if owner is not None:
        try:
            entry = pwd.getpwuid(int(owner)) if owner.isdigit() else pwd.getpwnam(owner)
            ids = (entry.pw_uid, entry.pw_gid)
        except KeyError:
            if not owner.isdigit():
                raise UserError(f"this machine has no user {owner!r}", about=text) from None
            ids = (int(owner), int(owner))
    _nothing_left(options, text)
    return MaildirAccount(_absolute(path), flavour, ids)


def _pst(text: str) -> PstAccount:
    path, _, rest = text.removeprefix("pst:").partition("?")
    if not path or "\0" in path:
        raise UserError("it names no file", about=_shown(text), advice="pst:/path/to/file.pst")
    options = dict(parse_qsl(rest, keep_blank_values=True))
    owner = tuple(one.strip() for one in options.pop("owner", "").split(",") if one.strip())
    if not all("@" in one for one in owner):
        raise UserError("the owner of a PST file is told by addresses", about=text, advice="owner=alice@acme.example")
    people, domain, below = options.pop("people", None), options.pop("domain", None), options.pop("below", "")
    _nothing_left(options, text)
    return PstAccount(_pst_file(path), owner, _absolute(people) if people else None, domain, below.strip())


def _pst_file(path: str) -> str:
    """The file; its name may stand without its ending."""
    whole = _absolute(path)
    return next((one for one in (whole, f"{whole}.pst", f"{whole}.ost") if os.path.isfile(one)), whole)


def _ics(text: str) -> IcsAccount:
    path = text.removeprefix("ics:")
    if not path or "\0" in path:
        raise UserError("it names no directory", about=_shown(text), advice="ics:/path/to/directory")
    return IcsAccount(_absolute(path))


def _dav(text: str, found: re.Match[str], user: str | None, secret: Secret | None) -> DavAccount:
    """Options: `admin=USER` (who authenticates for the user), `tls=none`, `verify=no`, `ca=FILE`, `timeout=SECONDS`."""
    name = unquote(found["user"] or "") or user
    if not name or ":" in (found["user"] or ""):
        raise UserError(
            "it names no user" if not name else "a password must not stand in an address",
            about=_shown(text),
            advice="davs://user@host, and --target-password or --groupware-password REF",
        )
    options = dict(parse_qsl(found["options"] or "", keep_blank_values=True))
    tls = options.pop("tls", "")
    if tls not in ("", "none") or bool(found["tls"]) == (tls == "none"):
        advice = "davs:// for TLS; dav://…?tls=none sends the password in clear"
        raise UserError("how it is protected is not said", about=text, advice=advice)
    port = int(found["port"] or (443 if found["tls"] else 80))
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port", about=text)
    account = DavAccount(
        f"{found['service']}dav",
        found["host"].strip("[]"),
        port,
        name,
        secret,
        admin=options.pop("admin", None),
        path="" if found["path"] in (None, "/") else found["path"],
        tls=Tls.IMPLICIT if found["tls"] else Tls.NONE,
        verify=_yes(options.pop("verify", "yes"), "verify", text),
        ca_file=options.pop("ca", None),
        timeout=_number(options.pop("timeout", "60"), "timeout", text),
    )
    _nothing_left(options, text)
    return account


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _filled(text: str, user: str | None) -> str:
    def field(match: re.Match[str]) -> str:
        if user is None:
            if match[0] == "{user}" and "login=" in text:
                return match[0]
            raise UserError(f"{match[0]} needs an account list", about=text, advice="add --accounts FILE.csv")
        local, _, domain = user.partition("@")
        values = {"user": user, "localpart": local, "domain": domain}
        if match[1] not in values:
            raise UserError(f"{match[0]} is not known", about=text, advice="use {user}, {localpart} or {domain}")
        value = values[match[1]]
        if text.startswith(("maildir:", "pst:", "ics:")) and (
            "/" in value or value in ("", ".", "..") or "\0" in value
        ):
            raise UserError(f"{value!r} cannot be a directory's name", about=text)
        return value

    return _FIELD.sub(field, text)


def _tls(scheme: str, wanted: str, text: str) -> Tls:
    if wanted == "none":
        return Tls.NONE
    if wanted:
        raise UserError(
            f"tls={wanted} is not known", about=text, advice="imaps:// for TLS, imap:// for STARTTLS, ?tls=none"
        )
    return Tls.IMPLICIT if scheme == "imaps" else Tls.STARTTLS


def _choice(kind: type[E], value: str, name: str, text: str) -> E:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(one.value) for one in kind)
        raise UserError(f"{name}={value} is not known", about=text, advice=f"{name} is one of: {known}") from None


def _number(value: str, name: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{name}={value} is not a number", about=text) from None


def _yes(value: str, name: str, text: str) -> bool:
    if value in ("yes", "no"):
        return value == "yes"
    raise UserError(f"{name}={value} is not known", about=text, advice=f"{name} is yes or no")


def _nothing_left(options: Mapping[str, str], text: str) -> None:
    if options:
        raise UserError(f"unknown option {sorted(options)[0]!r}", about=_shown(text), advice="see docs/addresses.md")


def _shown(text: str) -> str:
    """The address for an error text, without what might be a password in it."""
    return re.sub(r"(://[^:/?]*):[^?]*@", r"\1:***@", text)


def read_pairs(
    file: Path, source: str, target: str, backup_of: str | None = None, groupware: Sequence[str] = ()
) -> list[Pair]:
    """The mailboxes of an account list: CSV with a header line naming at least `source_user`.

    Columns: `source_user`, `target_user` (default: the same), `source_password`, `target_password` (references such as
    `env:NAME`, `file:PATH`), `owner` (for PST files: the person's addresses, with blanks between). `source` and
    `target` are addresses that hold `{user}` or lack a user (`pst:DIRECTORY/`: the file in it that is called as the
    user); `backup_of` likewise, where `source` is a backup of it. Comma or semicolon, UTF-8 with or without a byte
    order mark. UserError names file and line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", about=str(file), advice="save it as CSV in UTF-8") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    source = re.sub(r"^(pst:[^?{]*/)(?=\?|$)", r"\1{user}", source)
    unknown = set(reader.fieldnames or ()) - COLUMNS
    if "source_user" not in (reader.fieldnames or ()) or unknown:
        what = (
            f"unknown column {sorted(map(str, unknown))[0]!r}" if unknown else "no column source_user in its first line"
        )
        raise UserError(what, about=str(file), advice=f"the columns are {', '.join(sorted(COLUMNS))}")
    pairs: list[Pair] = []
    seen: dict[str, int] = {}
    for row in reader:
        line = f"{file}, line {reader.line_num}"
        user = (row["source_user"] or "").strip()
        if not user:
            if any(row.values()):
                raise UserError("no source_user", about=line)
            continue
        if None in row or None in row.values():
            raise UserError("not as many fields as the first line has", about=line)
        try:
            pair = Pair(
                _owned(parse_address(source, user=user, secret=_secret(row.get("source_password"))), row.get("owner")),
                parse_address(
                    target,
                    user=(row.get("target_user") or "").strip() or user,
                    secret=_secret(row.get("target_password")),
                ),
                parse_address(backup_of, user=user).key if backup_of else None,
                _groupware(groupware, (row.get("target_user") or "").strip() or user),
                (user, (row.get("target_user") or "").strip() or user),
            )
        except MailferryError as error:
            raise UserError(error.message, about=f"{line}: {error.about}", advice=error.advice) from error
        for key in (pair.source.key, pair.target.key):
            if key in seen and not (key == pair.target.key and isinstance(pair.source, PstAccount)):
                raise UserError(f"{key} stands in line {seen[key]} already", about=line)
            seen[key] = reader.line_num
        pairs.append(pair)
    if not pairs:
        raise UserError("it lists no mailbox", about=str(file))
    return _apart(pairs)


def _apart(pairs: list[Pair]) -> list[Pair]:
    """Several PST files of one person go into one mailbox, each below a folder that is called as the file."""
    often = Counter(pair.target.key for pair in pairs)
    return [
        replace(pair, source=replace(pair.source, below=pair.source.below or Path(pair.source.path).stem))
        if often[pair.target.key] > 1 and isinstance(pair.source, PstAccount)
        else pair
        for pair in pairs
    ]


def _groupware(texts: Sequence[str], user: str | None = None) -> tuple[Account, ...]:
    """The stores that addresses name. UserError: one holds no events and contacts."""
    accounts = tuple(parse_address(one, user=user) for one in texts)
    for one in accounts:
        if not isinstance(one, ITEM_STORES):
            advice = "davs://user@host, caldavs://…, carddavs://… or ics:DIRECTORY"
            raise UserError("it holds no events and contacts", about=one.key, advice=advice)
    return accounts


def pair_of(source: str, target: str, backup_of: str | None = None, groupware: Sequence[str] = ()) -> Pair:
    """The mailbox that addresses without `{user}` name."""
    stands_for = parse_address(backup_of).key if backup_of else None
    return Pair(parse_address(source), parse_address(target), stands_for, _groupware(groupware))


def _owned(account: Account, owner: str | None) -> Account:
    """The account with the owner that its line names."""
    addresses = tuple((owner or "").split())
    if not addresses:
        return account
    if not isinstance(account, PstAccount):
        raise UserError("only a PST file has an owner that is told", about=account.key, advice="leave the column empty")
    return replace(account, owner=addresses)


def _secret(reference: str | None) -> Secret | None:
    return Secret.from_reference(reference.strip()) if reference and reference.strip() else None
