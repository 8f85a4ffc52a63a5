"""Settings → dovecot.conf and the files that it names. Pure: no file is written, no program run.

The same settings give the same bytes. Source of every setting: doc.dovecot.org/2.3 (Dovecot and Pigeonhole).
"""

from __future__ import annotations

from collections.abc import Iterator

from mailferry.stack.dovecot import proxy, searches, sieve
from mailferry.stack.dovecot.settings import MASTER, Settings, Store, written
from mailferry.stack.file import File
from mailferry.stack.openldap.render import hashed
from mailferry.stack.postfix.settings import Endpoint

_SHARED = "  service_count = 0\n  process_min_avail = 2\n  process_limit = 16\n"
_SPECIAL_USES = ("Archive", "Drafts", "Junk", "Sent", "Trash")


def files(settings: Settings) -> Iterator[File]:
    """Everything below the configuration directory; those with a password are for the group dovecot to read."""
    here = settings.config_dir
    yield File("dovecot.conf", conf(settings).encode(), place=here / "dovecot.conf")
    for search in searches.searches(settings):
        yield File(search.file, searches.text(search, settings).encode(), 0o640, here / search.file)
    if settings.directory.words.ad:
        yield File(searches.LDAPRC, b"REFERRALS off\n", place=here / searches.LDAPRC)
    if settings.store is not None and settings.store.master is not None:
        yield File("masters", masters(settings.store).encode(), 0o640, here / "masters")
    if settings.proxy is not None:
        yield proxy.file(settings)
    yield from sieve.files(settings)


def masters(store: Store) -> str:
    """The passwd-file of MASTER, whose password stands in it as an Argon2id hash."""
    assert store.master is not None
    encoded = hashed(store.master, f"{MASTER}@{store.name}").removeprefix("{ARGON2}")
    networks = ",".join(store.master_networks)
    # quota_rule2 comes after the person's own rule: a mailbox is filled whatever it may hold.
    return f"{MASTER}:{{ARGON2ID}}{encoded}::::::allow_nets={networks} userdb_quota_rule2=*:bytes=0\n"


def conf(settings: Settings) -> str:
    """dovecot.conf."""
    return "".join((_common(settings), _master_user(settings), _sasl(settings), _store(settings), proxy.conf(settings)))


def _common(settings: Settings) -> str:
    store, ports = settings.store, settings.ports
    protocols = ["imap", "pop3", *(["sieve"] if ports.sieve else []), *(["lmtp"] if store and ports.lmtp else [])]
    trusted = f"login_trusted_networks = {' '.join(store.trusted)}\n" if store and store.trusted else ""
    return f"""\
# Rendered by `mailferry stack render dovecot`; changes are lost at the next rendering.
# What is in force, defaults included: doveconf -c {settings.config_dir}/dovecot.conf
base_dir = {settings.base_dir}
state_dir = {settings.state_dir}
instance_name = {settings.base_dir.name}
{f"log_path = {settings.log_file}" if settings.log_file else "syslog_facility = mail"}
hostname = {settings.hostname}
listen = {", ".join(settings.addresses)}
protocols = {" ".join(protocols)}

# --- Log-in: by uid, or by any mail address, of any letters that one may have (RFC 5322, atext) but * and %
auth_mechanisms = plain login
auth_username_format = %Lu
auth_username_chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@+'&=~!/?^`{{|}}#$"
# A route that changes is in force for the next log-in and the next message.
auth_cache_size = 0
{trusted}{_tls(settings)}
# --- So many clients at once: {settings.sessions}. A few processes hold all that are logging in, and all TLS.
default_client_limit = {4 * settings.sessions}
default_process_limit = {settings.sessions}
default_vsz_limit = 1G
service imap-login {{
{_SHARED}{_listener("imap", ports.imap)}{_listener("imaps", ports.imaps, tls=True)}}}
service pop3-login {{
{_SHARED}{_listener("pop3", ports.pop3)}{_listener("pop3s", ports.pop3s, tls=True)}}}
service managesieve-login {{
{_SHARED}{_listener("sieve", ports.sieve)}}}
service imap {{
  process_limit = {settings.sessions}
}}
service pop3 {{
  process_limit = {settings.sessions}
}}
service lmtp {{
  process_limit = 100
}}
"""


def _master_user(settings: Settings) -> str:
    if settings.store is None or settings.store.master is None:
        return ""
    return f"""
# --- Mailferry fills mailboxes: it may log in as everybody (alice*{MASTER}), from certain networks alone
auth_master_user_separator = *
passdb {{
  driver = passwd-file
  args = username_format=%u {settings.config_dir}/masters
  master = yes
}}
"""


def _sasl(settings: Settings) -> str:
    where = settings.sasl
    if where is None:
        return ""
    listener = f"""\
  unix_listener {where} {{
    mode = 0660
    user = postfix
    group = postfix
  }}
"""
    if isinstance(where, Endpoint):
        listener = f"  inet_listener {{\n    address = {where.host}\n    port = {where.port}\n  }}\n"
    return f"""
# --- Who may hand in mail: Postfix asks here (smtpd_sasl_type = dovecot), and gets the uid
service auth {{
{listener}}}
protocol smtp {{
  passdb {{
    driver = ldap
    args = {settings.config_dir}/{searches.send().file}
    result_failure = return-fail
    result_internalfail = return-fail
  }}
}}
"""


def _store(settings: Settings) -> str:
    store = settings.store
    if store is None:
        return ""
    here = settings.config_dir
    return f"""
# --- The owner's log-in: only once their mail comes here
passdb {{
  driver = ldap
  args = {here}/{searches.log_in(store).file}
}}
# --- Where a mailbox is
userdb {{
  driver = ldap
  args = {here}/{searches.people(store).file}
  result_internalfail = return-fail
}}

# --- Mailboxes: Maildir++, which Mailferry may also write itself
mail_uid = {store.owner[0]}
mail_gid = {store.owner[1]}
first_valid_uid = 1
mail_home = {store.mail_dir}/%u
mail_location = maildir:~/Maildir
# listescape: folder names may hold dots, which Maildir++ has for its own use.
mail_attribute_dict = file:%h/dovecot-attributes
mail_plugins = acl listescape quota notify mail_log
mail_max_userip_connections = 50
namespace inbox {{
  inbox = yes
  separator = /
{"".join(_special_use(store, use) for use in _SPECIAL_USES)}}}
# Mailboxes of others, as far as they let one in: user/UID/Folder.
namespace shared {{
  type = shared
  separator = /
  prefix = user/%%u/
  location = maildir:%%h/Maildir
  list = children
  subscriptions = no
}}
protocol imap {{
  mail_plugins = $mail_plugins imap_acl imap_quota imap_zlib{" imap_sieve" if store.rspamd else ""}
  imap_metadata = yes
}}
protocol pop3 {{
  # UIDLs that Mailferry brought from the old server stand in dovecot-uidlist, and come before this.
  pop3_uidl_format = %08Xu%08Xv
}}

# --- Mail from Postfix
service lmtp {{
{_listener("lmtp", settings.ports.lmtp)}}}
recipient_delimiter =
lda_mailbox_autocreate = yes
lda_mailbox_autosubscribe = yes
# {"Mail for a full mailbox waits at Postfix (4xx)" if store.defer_over_quota else "A full mailbox refuses mail (5xx)"}.
quota_full_tempfail = {"yes" if store.defer_over_quota else "no"}
# Vacation notices and what Sieve sends on.
submission_host = {written(store.relay)}
protocol lmtp {{
  mail_plugins = $mail_plugins sieve
  # For those alone whose mail comes here. Whom the directory sends elsewhere is put off, who does not exist refused.
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

# --- Log: what was delivered, stored and removed, by Message-ID; never subjects
deliver_log_format = msgid=%m size=%p: %$
plugin {{
  mail_log_events = save copy append delete undelete expunge mailbox_delete mailbox_rename
  mail_log_fields = uid box msgid size
  mail_log_cached_only = no

  # The size that a mailbox may have is in the directory (mailferryQuota); without it, any.
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:bytes=0
  quota_max_mail_size = 0

  # Who opens somebody else's folders: dovecot-acl in each folder; the list of who lets whom in.
  acl = vfile
  # Mailferry is the owner of each mailbox that it fills.
  acl_user = %u
  acl_shared_dict = file:{store.mail_dir}/shared-mailboxes
{sieve.plugin(settings)}}}
{_metrics(store)}"""


def _special_use(store: Store, use: str) -> str:
    name = store.rspamd.folder if store.rspamd and use == "Junk" else use
    return f"  mailbox {name} {{\n    special_use = \\{use}\n  }}\n"


def _listener(name: str, port: int, *, tls: bool = False) -> str:
    ssl = "    ssl = yes\n" if tls and port else ""
    return f"  inet_listener {name} {{\n    port = {port}\n{ssl}  }}\n"


def _metrics(store: Store) -> str:
    if store.metrics is None:
        return ""
    names = {"auth": "auth_request_finished", "delivery": "mail_delivery_finished", "imap": "imap_command_finished"}
    metrics = "".join(f"metric {name} {{\n  filter = event={event}\n}}\n" for name, event in names.items())
    return f"""
# --- Figures: http://{written(store.metrics)}/metrics
service stats {{
  inet_listener http {{
    address = {store.metrics.host}
    port = {store.metrics.port}
  }}
}}
{metrics}"""


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
