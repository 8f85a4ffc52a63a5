"""Who logs in where: the accounts that URLs and CSV files name. Does not connect and does not read files.

Forms: `imaps://user@host[:993]`, `imap://user@host[:143]` (STARTTLS is then required), `maildir:PATH`, `pst:FILE`,
`ews://mailbox@host`, `memory:NAME`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mailferry.secret import Secret


class Tls(Enum):
    """How a connection is protected. NONE only where an option of that name was given."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class Mechanism(Enum):
    """How to authenticate. AUTO takes the best that the server offers and the account has a secret for."""

    AUTO = "auto"
    PLAIN = "plain"
    LOGIN = "login"  # the LOGIN command (RFC 3501 §6.2.3), or AUTH=LOGIN where LOGINDISABLED
    XOAUTH2 = "xoauth2"
    OAUTHBEARER = "oauthbearer"
    EXTERNAL = "external"  # a TLS client certificate


@dataclass(frozen=True, slots=True)
class Application:
    """What Entra ID knows a program as, which gets access tokens by a secret or by `certificate` (a PEM file with key
    and certificate). `login`: the host of Entra ID."""

    tenant: str
    client: str
    certificate: str | None = None
    login: str = "login.microsoftonline.com"

    @property
    def authority(self) -> str:
        return f"https://{self.login}/{self.tenant}"


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """One mailbox on one IMAP server.

    `user`: whose mailbox. `admin`: who authenticates for it, where that is somebody else: sent as SASL PLAIN's
    authcid with `user` as authzid. Exchange's delegated form `DOMAIN\\\\admin\\\\user` is simply a `user` text.
    `secret`: password or access token; with `application` its secret, or the passphrase of its certificate.
    """

    host: str
    port: int
    user: str
    secret: Secret | None = None
    admin: str | None = None
    login: str | None = None
    mechanism: Mechanism = Mechanism.AUTO
    tls: Tls = Tls.IMPLICIT
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    timeout: float = 60.0
    pop3_port: int | None = None
    """Where the same mailbox is shown over POP3, for its UIDLs."""
    application: Application | None = None

    @property
    def key(self) -> str:
        """Names server and mailbox, never the secret: the ledger's name for the account."""
        return f"imap://{self.user}@{self.host}:{self.port}"


class MaildirFlavour(Enum):
    """Whose side files a Maildir gets."""

    DOVECOT = "dovecot"
    COURIER = "courier"
    QMAIL = "qmail"  # plain Maildir++ without keywords


@dataclass(frozen=True, slots=True)
class MaildirAccount:
    """One Maildir++ tree on this machine. `owner`: (uid, gid) for what is written; None keeps the tree's own."""

    path: str
    flavour: MaildirFlavour = MaildirFlavour.DOVECOT
    owner: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        return f"maildir:{self.path}"


@dataclass(frozen=True, slots=True)
class PstAccount:
    """One PST or OST file on this machine; it can be read only.

    `owner`: addresses of the person whose mailbox it is said to be, compared with what its Sent folder holds.
    `people`: a file of people in which Exchange's own addresses (X.500) are looked up. `domain`: what stands behind the
    @ of those that are not found there. `below`: the folder that it all goes below, so that several files fit into one
    mailbox; "": nowhere but where it belongs.
    """

    path: str
    owner: tuple[str, ...] = ()
    people: str | None = None
    domain: str | None = None
    below: str = ""

    @property
    def key(self) -> str:
        return f"pst:{self.path}"


@dataclass(frozen=True, slots=True)
class DavAccount:
    """One person's collections on one CalDAV or CardDAV server.

    `service`: `caldav`, `carddav`, or `dav` for both. `path`: where discovery begins, "" for the server's own word;
    with `admin`, who then authenticates instead of `user`, it is the person's home. `secret`: the password.
    """

    service: str
    host: str
    port: int
    user: str
    secret: Secret | None = None
    admin: str | None = None
    path: str = ""
    tls: Tls = Tls.IMPLICIT
    verify: bool = True
    ca_file: str | None = None
    timeout: float = 60.0

    @property
    def key(self) -> str:
        return f"{self.service}://{self.user}@{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class IcsAccount:
    """A directory of iCalendar and vCard files on this machine; a directory in it is a collection."""

    path: str

    @property
    def key(self) -> str:
        return f"ics:{self.path}"


class HttpLogin(Enum):
    """How to say over HTTP who we are. AUTO takes the best that the server offers."""

    AUTO = "auto"
    BASIC = "basic"
    NTLM = "ntlm"
    KERBEROS = "kerberos"
    OAUTH = "oauth"


class Access(Enum):
    """By which right a mailbox is opened that is not the account's own."""

    IMPERSONATION = "impersonation"
    DELEGATE = "delegate"


@dataclass(frozen=True, slots=True)
class EwsAccount:
    """One mailbox at an Exchange that speaks EWS.

    `user`: its primary SMTP address. `admin`: who authenticates for it, where that is somebody else; `login`: what is
    sent as the user's name in place of either. `archive`, `recoverable`, `public`: show these too, as folder trees
    `Archive`, `Recoverable Items` and `Public Folders`. `discover`: ask Autodiscover of the domain `host` for the
    server. `requests`: how many may be under way at once. `application`: who authenticates at Exchange Online, for any
    mailbox.
    """

    user: str
    host: str
    port: int = 443
    secret: Secret | None = None
    admin: str | None = None
    access: Access = Access.IMPERSONATION
    login: str | None = None
    mechanism: HttpLogin = HttpLogin.AUTO
    tls: bool = True
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    timeout: float = 120.0
    path: str = "/EWS/Exchange.asmx"
    application: Application | None = None
    discover: bool = False
    archive: bool = False
    recoverable: bool = False
    public: bool = False
    requests: int = 3

    @property
    def key(self) -> str:
        """As `ImapAccount.key`."""
        return f"ews://{self.user}@{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class GraphAccount:
    """One mailbox in Exchange Online, over Microsoft Graph.

    `user`: its userPrincipalName or id. `secret`: of `application`, or the passphrase of its certificate; without one
    an access token. `requests`: how many may be under way at once (Graph takes four for one application and mailbox).
    """

    user: str
    application: Application | None = None
    secret: Secret | None = None
    host: str = "graph.microsoft.com"
    port: int = 443
    verify: bool = True
    ca_file: str | None = None
    timeout: float = 120.0
    requests: int = 4

    @property
    def key(self) -> str:
        """As `ImapAccount.key`."""
        return f"graph:{self.user}"


Account = ImapAccount | MaildirAccount | PstAccount | EwsAccount | GraphAccount | DavAccount | IcsAccount

ITEM_STORES = (DavAccount, IcsAccount)
"""Accounts that hold events, contacts, tasks and notes, and no messages."""
