"""From the settings to the names that DNS has to know. Looks nothing up."""

from __future__ import annotations

from mailferry.config.settings import Settings as Config
from mailferry.ops.stack import postfix_settings
from mailferry.stack.dns import Names, View


def names_of(config: Config) -> Names:
    """Which host does what. ConfigError when a section is missing."""
    postfix = postfix_settings(config)
    assert config.stack is not None
    stack, dns = config.stack, config.stack.dns
    relay = None if stack.relay is None else stack.relay.hostname or postfix.hostname
    return Names(
        domains=postfix.domains,
        open_domain=postfix.open_domain,
        exchange_domain=postfix.exchange_domain,
        mx=postfix.hostname,
        exchange=postfix.exchange.host,
        old_mx=dns.old_mx,
        imap=stack.dovecot.hostname if stack.dovecot is not None else None,
        submission=postfix.submission is not None,
        relay=relay,
        selector=dns.dkim_selector,
        addresses={View.EXTERNAL: dns.external, View.INTERNAL: dns.internal},
    )
