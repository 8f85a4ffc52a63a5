"""Log-ins that are passed on: clients keep one host name, whichever server their mailbox is on.

Text only. Two questions: where a person's mailbox is (the directory: a mailHost, or Exchange), and how that place is
reached for this protocol (the table `places`). The server there checks the password. Invariant: without an answer to
both, nobody is let in.
"""

from __future__ import annotations

import ipaddress

from mailferry.stack.dovecot import searches
from mailferry.stack.dovecot.settings import Backend, Proxy, Settings
from mailferry.stack.file import File

FILE = "places"


def conf(settings: Settings) -> str:
    """The section of dovecot.conf; nothing for a store that passes nobody on."""
    proxy = settings.proxy
    if proxy is None:
        return ""
    here = settings.config_dir
    asked = "".join(
        f"""\
passdb {{
  driver = ldap
  args = {here}/{search.file}
  result_success = continue
  result_internalfail = return-fail
}}
"""
        for search in searches.passed_on(proxy)
    )
    return f"""
# --- Log-ins are passed on: where the mailbox is (the directory), and how that place is reached ({FILE})
{asked}passdb {{
  driver = passwd-file
  args = username_format=%s/%{{passdb:place}} {here}/{FILE}
}}
{_authorities(proxy)}"""


def places(proxy: Proxy) -> str:
    """The table: a line for each protocol and place (passwd-file; doc.dovecot.org/2.3: proxy fields)."""
    lines = [
        "# PROTOCOL/PLACE (a mailHost, or Exchange): where a log-in is passed on to, whatever the password.",
    ]
    for name, place in sorted(proxy.places.items()):
        lines += [
            f"{protocol}/{name}:::::::nopassword=y proxy=y {_reached(place, port, tls)}"
            for protocol, port, tls in (
                ("imap", place.imap, "ssl=yes"),
                ("pop3", place.pop3, "ssl=yes"),
                ("sieve", place.sieve, "starttls=yes"),
            )
            if port
        ]
    return "\n".join(lines) + "\n"


def _reached(place: Backend, port: int, tls: str) -> str:
    """`host` is the name that the certificate has to be for, `hostip` where it is."""
    where = [f"host={place.host}", f"port={port}"]
    if place.address:
        where.append(f"hostip={ipaddress.ip_address(place.address)}")
    return " ".join(where + ([tls] if place.tls else []))


def _authorities(proxy: Proxy) -> str:
    authorities = proxy.ca_file or "/etc/ssl/certs/ca-certificates.crt"
    return f"""\
# The certificates of those places are verified. (ssl_client_ca_file is not looked at by log-in processes.)
ssl_ca = <{authorities}
ssl_require_crl = no
"""


def file(settings: Settings) -> File:
    assert settings.proxy is not None
    return File(FILE, places(settings.proxy).encode(), 0o640, settings.config_dir / FILE)
