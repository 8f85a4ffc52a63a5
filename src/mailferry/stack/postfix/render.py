"""Settings → main.cf, master.cf and the tables of one Postfix. Pure: no file is written, no program run.

The same settings give the same bytes. Only the ldap: tables hold a secret, the password of cn=lookup. Source of every
parameter: postconf(5), master(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mailferry.stack.file import File
from mailferry.stack.postfix import tables
from mailferry.stack.postfix.settings import Settings


def files(settings: Settings) -> Iterator[File]:
    """Everything below the configuration directory; the ldap: tables are for the group postfix to read."""
    here = settings.config_dir
    for name, text in (
        ("main.cf", main(settings)),
        ("master.cf", master(settings)),
        ("transports.regexp", tables.transports(settings)),
        *(tables.patterns(settings) if settings.directory.words.ad else ()),
    ):
        yield File(name, text.encode(), place=here / name)
    for table in tables.used(settings):
        yield File(table.file, tables.text(table, settings).encode(), 0o640, here / table.file)


def main(settings: Settings) -> str:
    """main.cf."""
    here = settings.config_dir
    back = _list(f"check_recipient_access ldap:{here}/{table.file}" for table in tables.BACK)
    ad = settings.directory.words.ad
    chosen = "" if ad else _CHOSEN.format(file=here / tables.CHOSEN.file)
    to_exchange = tables.relay(settings)
    return f"""\
# Rendered by `mailferry stack render postfix`; changes are lost at the next rendering.
# Each table can be asked alone: postmap -q alice@{settings.domains[0]} ldap:{here}/{tables.ROUTES.file}
compatibility_level = 3.6
myhostname = {settings.hostname}
myorigin = {settings.domains[0]}
queue_directory = {settings.queue_dir}
data_directory = {settings.data_dir}
{log(settings)}{_instances(settings)}\
mynetworks = {" ".join(settings.own_networks)}
inet_interfaces = all
biff = no
message_size_limit = {settings.message_size}
mailbox_size_limit = 0
recipient_delimiter =

# --- Whose mail this is
# No mailbox is on this host: every recipient is passed on, to a store, to Exchange, or waits.
mydestination =
alias_maps =
local_recipient_maps =
local_transport = error:5.1.1 nobody has a mailbox on this host
virtual_alias_domains =
# The domains that both sides share, and the private routing domain of each side.
relay_domains = {" ".join(settings.domains)} {settings.open_domain} {settings.exchange_domain}
# Whom there is says the directory alone; while it is away the answer is 451, and senders come again.
relay_recipient_maps = {
        _list(
            (
                f"ldap:{here}/{tables.RECIPIENTS.file}",
                f"ldap:{here}/{tables.OPEN.file}",
                f"inline:{{ @{settings.exchange_domain}=any }}",
                *([f"regexp:{here}/{tables.LEGACY}"] if ad else []),
            )
        )
    }
unknown_relay_recipient_reject_code = 550
unverified_recipient_reject_code = 450

# --- Groups, forwarding, contacts, aliases: the first table that answers counts, and its answers are looked up again
virtual_alias_maps = {_list(tables.aliases(settings))}
# More than the largest group, or it is never delivered.
virtual_alias_expansion_limit = {settings.expansion}
virtual_alias_recursion_limit = 50
# Who is in two groups of one message gets it once.
enable_original_recipient = no

# --- Where it goes, person by person: one search, read by transports.regexp
transport_maps = {
        _list(
            (
                f"inline:{{ {{ {settings.exchange_domain} = {to_exchange} }} }}",
                *([f"regexp:{here}/{tables.LEGACY}", f"ldap:{here}/{tables.EMPTY.file}"] if ad else []),
                f"pipemap:{{ ldap:{here}/{tables.ROUTES.file}, regexp:{here}/transports.regexp }}",
                f"pipemap:{{ ldap:{here}/{tables.OPEN_ROUTES.file}, regexp:{here}/transports.regexp }}",
            )
        )
    }
# Whoever is not in the directory, or no longer.
relay_transport = error:5.1.1 no such address

# --- Parking: mail is accepted, and each message waits for this recipient alone (also when the queue is flushed:
# transports.regexp)
defer_transports = {tables.PARKED} {tables.UNROUTED}
# Longer than anybody is parked. No warnings to senders meanwhile: watch the queue instead.
maximal_queue_lifetime = {settings.queue_days}d
bounce_queue_lifetime = 5d
delay_warning_time = 0h
# What a store did not take, or what was being handed on during a reload, is tried again after a minute, not after five.
queue_run_delay = 60s
minimal_backoff_time = 60s
# One recipient's mail goes into a store message by message, in the order of its arrival; recipients beside each other.
store_destination_recipient_limit = 1
store_destination_concurrency_limit = 1
# Queue ids that are never used twice: a release names messages by them.
enable_long_queue_ids = yes

# --- Who may hand in mail
smtpd_helo_required = yes
disable_vrfy_command = yes
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
# The routing domains are nobody's address: they are for Exchange and for us.
smtpd_recipient_restrictions = {
        _list(
            (
                "permit_mynetworks",
                "reject_unauth_destination",
                f"check_recipient_access inline:{{ {{ {settings.open_domain} = 550 5.1.1 no such address }}, "
                f"{{ {settings.exchange_domain} = 550 5.1.1 no such address }} }}",
                "reject_unlisted_recipient",
                f"check_recipient_access ldap:{here}/{tables.INSIDE_ONLY.file}",
                *([] if ad else [f"check_recipient_access ldap:{here}/{tables.CHOSEN_ONLY.file}"]),
            )
        )
    }

# inside_only: senders who may not send outside.
inside_only = permit_auth_destination, reject
smtpd_restriction_classes = {
        " ".join((*(["chosen_senders"] if chosen else []), "inside_only", *(name for name, _ in _gates(settings))))
    }
{chosen}

# --- Mail from Exchange (its own listener in master.cf): nothing goes back
exchange_networks = {" ".join(settings.exchange_networks)}
exchange_relay_restrictions = reject_unauth_destination
# 451 while the route is fresh: Exchange's controllers have not all heard of it. 550 afterwards: a loop.
exchange_recipient_restrictions = {
        _list(
            (
                "reject_unauth_destination",
                f"check_recipient_access inline:{{ {{ {settings.exchange_domain} = "
                "550 5.4.6 this is Exchange's own domain } }",
                *([f"check_recipient_access regexp:{here}/{tables.LEGACY_BACK}"] if ad else []),
            )
        )
    },
    reject_unlisted_recipient,{back}
{_submission(settings)}{milter(settings)}{names(settings)}{tls(settings)}"""


def master(settings: Settings) -> str:
    """master.cf."""
    return f"""\
# Rendered by `mailferry stack render postfix`; changes are lost at the next rendering.
# service  type  private unpriv chroot wakeup maxproc command
# From outside. smtpd only asks whether a recipient exists; cleanup expands groups. Each smtpd ends after ten sessions
# (max_use): one that asked for a route while the directory was away answers 451 for that address until it ends.
{settings.listen} inet n - n - - smtpd
    -o max_use=10
    -o virtual_alias_maps=
# From Exchange.
{settings.listen_exchange} inet n - n - - smtpd
    -o max_use=10
    -o syslog_name=postfix/from-exchange
    -o virtual_alias_maps=
    -o mynetworks=$exchange_networks
    -o smtpd_milters=
    -o smtpd_client_restrictions=permit_mynetworks,reject
    -o smtpd_relay_restrictions=$exchange_relay_restrictions
    -o smtpd_recipient_restrictions=$exchange_recipient_restrictions
{_submission_services(settings)}\
# To Exchange, and to the stores; a transport of its own each, so that one that is slow holds up no other.
exchange unix - - n - - smtp
store unix - - n - - lmtp
# These do not run, as main.cf names them in defer_transports; if somebody flushes the queue, they find no server.
{tables.PARKED} unix - - n - - lmtp
{tables.UNROUTED} unix - - n - - lmtp

{SERVICES}"""


_CHOSEN = """\
# Recipients that take mail from certain senders outside alone.
chosen_senders = check_sender_access ldap:{file}, reject
"""


def _list(values: Iterable[str]) -> str:
    """The values of one parameter, a line each."""
    return ",".join(f"\n    {one}" for one in values)


def log(settings: Settings) -> str:
    """Where it logs; empty: syslog."""
    if settings.log_file is None:
        return ""
    return f"maillog_file = {settings.log_file}\nmaillog_file_prefixes = {settings.log_file.parent}\n"


def milter(settings: Settings) -> str:
    """rspamd; what comes from our own hosts (the relay, stores that forward) has been looked at, or is our own."""
    if settings.milter is None:
        return ""
    own = ", ".join(f"{{ {one.replace('[', '').replace(']', '')} DISABLE }}" for one in settings.own_networks)
    return f"""
# --- rspamd looks at the mail while the sender waits. While it is away: {settings.milter.when_away}.
smtpd_milters = inet:{settings.milter.at}
smtpd_milter_maps = cidr:{{ {own} }}
milter_default_action = {settings.milter.when_away}
milter_protocol = 6
"""


def _gates(settings: Settings) -> list[tuple[str, str]]:
    """The restriction class of each gate, and what it is."""
    some = tables.gates(settings) if settings.directory.words.gate else []
    return [(one.name, f"check_sasl_access ldap:{settings.config_dir}/{one.file}, reject") for one in some]


def _submission(settings: Settings) -> str:
    if settings.submission is None:
        return ""
    here, sasl = settings.config_dir, settings.submission.sasl
    gated = (tables.GATE_OF, tables.NO_GATE) if settings.directory.words.gate else ()
    person = f"ldap:{here}/{tables.PERSON.file}, ldap:{here}/{tables.GROUP_NOT_OUTSIDE.file}"
    return f"""
# --- People who hand in mail (their own listeners in master.cf), logged in as Dovecot says
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl if sasl.startswith("/") else f"inet:{sasl}"}
# With their own addresses, or those of somebody who lets them.
smtpd_sender_login_maps = ldap:{here}/{tables.SENDERS.file}
submission_sender_restrictions = reject_sender_login_mismatch
submission_recipient_restrictions = {
        _list(
            (
                "reject_non_fqdn_recipient",
                "reject_unlisted_recipient",
                f"check_sasl_access ldap:{here}/{tables.NOT_OUTSIDE.file}",
                f"check_sasl_access pipemap:{{ {person} }}",
                *(f"check_recipient_access ldap:{here}/{one.file}" for one in gated),
                "permit_sasl_authenticated",
                "reject",
            )
        )
    }
# Recipients that say who may send to them: a gate each.
{"".join(f"{name} = {what}{chr(10)}" for name, what in _gates(settings))}"""


def _submission_services(settings: Settings) -> str:
    """The listeners of master.cf for people, logged in; without a certificate (on loopback alone) in clear."""
    if settings.submission is None:
        return ""
    secure = settings.certificate is not None
    rest = f"""\
    -o max_use=10
    -o virtual_alias_maps=
    -o smtpd_sasl_auth_enable=yes
    -o smtpd_tls_auth_only={"yes" if secure else "no"}
    -o smtpd_client_restrictions=permit_sasl_authenticated,reject
    -o smtpd_sender_restrictions=$submission_sender_restrictions
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
    -o smtpd_recipient_restrictions=$submission_recipient_restrictions
"""
    return f"""\
# From people, logged in: STARTTLS, and TLS from the first byte.
{settings.submission.listen} inet n - n - - smtpd
    -o syslog_name=postfix/submission
    -o smtpd_tls_security_level={"encrypt" if secure else "none"}
{rest}\
{settings.submission.listen_tls} inet n - n - - smtpd
    -o syslog_name=postfix/submissions
    -o smtpd_tls_wrappermode={"yes" if secure else "no"}
{rest}"""


def _instances(settings: Settings) -> str:
    """Further instances on this host (postmulti(1)), started together with this one."""
    if not settings.instances:
        return ""
    return f"""\
multi_instance_wrapper = ${{command_directory}}/postmulti -p --
multi_instance_enable = yes
multi_instance_directories = {" ".join(map(str, settings.instances))}
"""


def names(settings: Settings) -> str:
    """How it looks up names; empty: in the DNS."""
    if settings.dns:
        return ""
    return """
# --- Names from /etc/hosts alone
smtp_dns_support_level = disabled
smtp_host_lookup = native
lmtp_dns_support_level = disabled
lmtp_host_lookup = native
"""


def tls(settings: Settings) -> str:
    """Its TLS settings, the last lines of main.cf."""
    if settings.certificate is None:
        return (
            "\n# --- TLS: offered to nobody, as there is no certificate; asked for where others offer it\n" + _OUTGOING
        )
    return f"""
# --- TLS
smtpd_tls_chain_files = {settings.certificate}
smtpd_tls_security_level = may
{_OUTGOING}"""


_OUTGOING = "smtp_tls_security_level = may\n"
SERVICES = """\
# What is queued anew (a release with forwarding) does not wait a minute.
pickup unix n - n 2 1 pickup
cleanup unix n - n - 0 cleanup
# Woken every 10 s, not every 300: of a message that arrives just during a reload nobody else tells it.
qmgr unix n - n 10 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
"""What every instance runs."""
