"""From the settings to the names that DNS has to know. Looks nothing up."""

from __future__ import annotations

from mailferry.config.settings import Settings as Config
from mailferry.ops import stack_qmail
from mailferry.ops.stack import postfix_settings
from mailferry.stack.dns import Names, View
from mailferry.stack.postfix.settings import Settings as Postfix


def names_of(config: Config) -> Names:
    """Which host does what. ConfigError when a section is missing."""
    mx = stack_qmail.any_host(config) if stack_qmail.is_qmail(config) else postfix_settings(config)
    assert config.stack is not None
    stack, dns = config.stack, config.stack.dns
    relay = None if stack.relay is None else stack.relay.hostname or mx.hostname
    imap = stack.dovecot or stack.courier
    return Names(
        domains=mx.domains,
        open_domain=mx.open_domain,
        exchange_domain=mx.exchange_domain,
        mx=mx.hostname,
        exchange=mx.exchange.host,
        old_mx=dns.old_mx,
        imap=imap.hostname if imap is not None else None,
        submission=isinstance(mx, Postfix) and mx.submission is not None,
        relay=relay,
        selector=dns.dkim_selector,
        addresses={View.EXTERNAL: dns.external, View.INTERNAL: dns.internal},
    )
