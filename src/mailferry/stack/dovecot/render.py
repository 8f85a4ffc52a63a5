"""Settings → dovecot.conf and the files that it names. Pure: no file is written, no program run.

The same settings give the same bytes. Source of every setting: doc.dovecot.org/2.3, doc.dovecot.org/2.3/…/pigeonhole.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailferry.stack.dovecot import searches
from mailferry.stack.dovecot.settings import MASTER, Settings, Store
from mailferry.stack.file import File
from mailferry.stack.openldap.render import hashed


def files(settings: Settings) -> Iterator[File]:
    """Everything below the configuration directory; those with a password are for the group dovecot to read."""
    yield File("dovecot.conf", conf(settings).encode())
    for search in searches.searches(settings):
        yield searches.file(search, settings)
    if settings.store is not None and settings.store.master is not None:
        yield File("masters", masters(settings.store).encode(), 0o640)


def masters(store: Store) -> str:
    """The passwd-file of MASTER, whose password stands in it as an Argon2id hash."""
    assert store.master is not None
    encoded = hashed(store.master, f"{MASTER}@{store.name}").removeprefix("{ARGON2}")
    return f"{MASTER}:{{ARGON2ID}}{encoded}::::::allow_nets={','.join(store.master_networks)}\n"


def conf(settings: Settings) -> str:
    """dovecot.conf."""
    return "".join(part for part in (_common(settings), _store(settings)) if part)


def _common(settings: Settings) -> str:
    ports = settings.ports
    protocols = ["imap", "pop3"]
    protocols += ["sieve"] if ports.sieve else []
    protocols += ["lmtp"] if settings.store is not None and ports.lmtp else []
    return f"""\
# Rendered by `mailferry stack render dovecot`; changes are lost at the next rendering.
# What is in force, with all defaults: doveconf -c {settings.config_dir}/dovecot.conf
base_dir = {settings.base_dir}
state_dir = {settings.state_dir}
{_log(settings)}\
hostname = {settings.hostname}
listen = {settings.address}
protocols = {" ".join(protocols)}

# --- Log-in: by uid, or by any mail address
auth_mechanisms = plain login
auth_username_format = %Lu
auth_username_chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@+'&=~!"
# Who has moved, or has been disabled, is so at once.
auth_cache_size = 0
{_tls(settings)}
service imap-login {{
{_listener("imap", ports.imap)}{_listener("imaps", ports.imaps, tls=True)}}}
service pop3-login {{
{_listener("pop3", ports.pop3)}{_listener("pop3s", ports.pop3s, tls=True)}}}
"""


def _store(settings: Settings) -> str:
    store = settings.store
    if store is None:
        return ""
    here = settings.config_dir
    return f"""
# --- Mailboxes
mail_uid = {store.owner[0]}
mail_gid = {store.owner[1]}
first_valid_uid = 1
mail_home = {store.mail_dir}/%u
mail_location = maildir:~/Maildir
mail_plugins = acl quota notify mail_log
mail_attribute_dict = file:%h/dovecot-attributes
recipient_delimiter =
{_masters(settings, store)}
# --- The owner's log-in: only once their mail comes here
passdb {{
  driver = ldap
  args = {here}/{searches.log_in(store).file}
}}
# --- Where the mailbox is
userdb {{
  driver = ldap
  args = {here}/{searches.people(store).file}
}}

# --- Mail from Postfix
service lmtp {{
{_listener("lmtp", settings.ports.lmtp)}}}
protocol lmtp {{
  mail_plugins = $mail_plugins sieve
  # Only for those whose mail comes here; whom the directory sends elsewhere is put off, who does not exist refused.
  userdb {{
    driver = ldap
    args = {here}/{searches.delivery(store).file}
    result_internalfail = return-fail
  }}
  userdb {{
    driver = ldap
    args = {here}/{searches.elsewhere().file}
    result_internalfail = return-fail
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
{"".join(_mailbox(name) for name in ("Drafts", "Junk", "Sent", "Trash", "Archive"))}}}
"""


def _masters(settings: Settings, store: Store) -> str:
    if store.master is None:
        return ""
    return f"""
# --- Mailferry, which fills mailboxes: it may log in as everybody (alice*{MASTER}), from its own hosts alone
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = username_format=%u {settings.config_dir}/masters
  master = yes
}}
"""


def _mailbox(name: str) -> str:
    return f"  mailbox {name} {{\n    special_use = \\{name}\n  }}\n"


def _listener(name: str, port: int, *, tls: bool = False) -> str:
    ssl = "    ssl = yes\n" if tls and port else ""
    return f"  inet_listener {name} {{\n    port = {port}\n{ssl}  }}\n"


def _log(settings: Settings) -> str:
    return f"log_path = {settings.log_file}\n" if settings.log_file else ""


def _tls(settings: Settings) -> str:
    if settings.certificate is None:
        return "\n# --- No TLS, as there is no certificate: for loopback alone\nssl = no\ndisable_plaintext_auth = no\n"
    return f"""
# --- TLS: passwords are taken over TLS alone
ssl = required
ssl_cert = <{settings.certificate}
ssl_key = <{settings.key}
ssl_min_protocol = TLSv1.2
"""
