"""Courier's files: authldaprc and authdaemonrc (people), imapd and pop3d with their -ssl parts (listeners).

Pure. Invariants: nobody but people whose route leads to this very store can log in; passwords are checked by slapd (a
bind), so that those are right that it takes from Active Directory; the directory being away is a failure to log in for
now, never a wrong password for good.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailferry.stack.courier.settings import Settings
from mailferry.stack.file import File

_CAPABILITY = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"

_MARKER = "##NAME: MARKER:0\n"
"""Without this line authldap does not read its file."""


def files(settings: Settings) -> Iterator[File]:
    """Everything that goes into /etc/courier."""
    for name, text, mode in (
        ("authdaemonrc", _daemon(), 0o640),
        ("authldaprc", people(settings), 0o640),
        ("imapd", _imap(settings), 0o644),
        ("imapd-ssl", _tls(settings, "IMAP", settings.ports.imap, settings.ports.imaps), 0o644),
        ("pop3d", _pop3(settings), 0o644),
        ("pop3d-ssl", _tls(settings, "POP3", settings.ports.pop3, settings.ports.pop3s), 0o644),
    ):
        yield File(name, text.encode(), mode, settings.config_dir / name)


def people(settings: Settings) -> str:
    """authldaprc: who may log in, and where their mailbox is. It holds the password of cn=lookup."""
    directory, words = settings.directory, settings.directory.words
    start_tls = directory.ca_file is not None and any(url.startswith("ldap://") for url in directory.urls)
    values = {
        "LDAP_URI": ", ".join(directory.urls),
        "LDAP_PROTOCOL_VERSION": "3",
        "LDAP_BASEDN": directory.suffix,
        "LDAP_BINDDN": directory.bind,
        "LDAP_BINDPW": directory.password.reveal(),
        "LDAP_TIMEOUT": "10",
        "LDAP_INITBIND": "1",
        "LDAP_AUTHBIND": "1",
        "LDAP_MAIL": settings.login,
        "LDAP_FILTER": f"(&{words.local}({words.store}={settings.store}){words.enabled})",
        "LDAP_GLOB_UID": settings.owner,
        "LDAP_GLOB_GID": settings.owner,
        "LDAP_HOMEDIR": words.uid,
        "LDAP_MAILROOT": str(settings.mail_dir),
        "LDAP_FULLNAME": "cn",
        "LDAP_DEREF": "never",
        "LDAP_TLS": "1" if start_tls else "0",
    }
    head = "# Rendered by `mailferry stack render courier`: people of the open directory whose mail is in this store.\n"
    return head + _MARKER + "".join(f"{name}\t{value}\n" for name, value in values.items())


def _daemon() -> str:
    return """\
# Rendered by `mailferry stack render courier`.
authmodulelist="authldap"
authmodulelistorig="authldap"
daemons=5
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=""
LOGGEROPTS=""
"""


def _imap(settings: Settings) -> str:
    return f"""\
# Rendered by `mailferry stack render courier`.
ADDRESS={settings.address}
PORT={settings.ports.imap}
MAXDAEMONS={settings.sessions}
MAXPERIP={settings.sessions}
PIDFILE=/run/courier/imapd.pid
TCPDOPTS="-nodnslookup -noidentlookup"
IMAPACCESSFILE={settings.config_dir}/imapaccess
LOGGEROPTS="-name=imapd"
IMAP_CAPABILITY="{_CAPABILITY}"
IMAP_CAPABILITY_TLS="$IMAP_CAPABILITY AUTH=PLAIN"
IMAP_KEYWORDS=1
IMAP_ACL=1
IMAP_IDLE_TIMEOUT=60
IMAP_MAILBOX_SANITY_CHECK=1
IMAP_UMASK=022
IMAP_USELOCKS=1
IMAP_ENHANCEDIDLE=0
IMAP_TRASHFOLDERNAME=Trash
# Nothing is ever deleted by age: Courier's own default empties Trash after seven days.
IMAP_EMPTYTRASH=
IMAPDSTART={_yes(settings.ports.imap)}
MAILDIRPATH=Maildir
"""


def _pop3(settings: Settings) -> str:
    return f"""\
# Rendered by `mailferry stack render courier`.
ADDRESS={settings.address}
PORT={settings.ports.pop3}
MAXDAEMONS={settings.sessions}
MAXPERIP={settings.sessions}
PIDFILE=/run/courier/pop3d.pid
TCPDOPTS="-nodnslookup -noidentlookup"
LOGGEROPTS="-name=pop3d"
POP3AUTH=""
POP3AUTH_TLS=""
POP3DSTART={_yes(settings.ports.pop3)}
MAILDIRPATH=Maildir
"""


def _tls(settings: Settings, protocol: str, plain: int, secured: int) -> str:
    """imapd-ssl or pop3d-ssl. Without a certificate it offers nothing."""
    name = protocol.lower().replace("imap", "imapd").replace("pop3", "pop3d")
    has = settings.certificate is not None
    starts = f"{protocol}DSTARTTLS" if protocol == "IMAP" else f"{protocol}_STARTTLS"
    certificate = f"TLS_CERTFILE={settings.certificate}\n" if has else ""
    return f"""\
# Rendered by `mailferry stack render courier`.
SSLPORT={secured}
SSLADDRESS={settings.address}
SSLPIDFILE=/run/courier/{name}-ssl.pid
SSLLOGGEROPTS="-name={name}-ssl"
{protocol}DSSLSTART={_yes(has and secured)}
{starts}={_yes(has and plain)}
{protocol}_TLS_REQUIRED={int(has)}
COURIERTLS=/usr/bin/couriertls
{certificate}TLS_VERIFYPEER=NONE
TLS_CACHEFILE=
MAILDIRPATH=Maildir
"""


def _yes(wanted: object) -> str:
    return "YES" if wanted else "NO"
