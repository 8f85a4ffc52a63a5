"""From the settings to the queues that take mail for people: `[[coexist.queues]]`, or those of `[stack]`.

Opens nothing. Invariant: all of them are of the flavour that keeps the routes.
"""

from __future__ import annotations

import shlex

from mailferry.coexist.explain import Sides
from mailferry.coexist.parking import Mta
from mailferry.coexist.qmail_queue import QmailHost
from mailferry.coexist.queues import Place
from mailferry.config.coexist import Queue
from mailferry.config.settings import Settings
from mailferry.config.stack import Postfix
from mailferry.errors import ConfigError
from mailferry.ops import stack_qmail
from mailferry.ops.stack import postfix_settings
from mailferry.ops.stack_places import endpoint


def places(settings: Settings) -> tuple[Place, ...]:
    """All queues that have to forget a route before anything is copied. ConfigError: none is configured."""
    stack = settings.stack
    queues = settings.coexist.queues if settings.coexist is not None else ()
    if stack_qmail.is_qmail(settings):
        return _qmail(settings, queues)
    if queues:
        return tuple(_postfix(one) for one in queues)
    if stack is None or stack.postfix is None:
        raise ConfigError("no Postfix is configured", about="coexist.queues", advice="name each with its postqueue")
    return (mta_of(stack.postfix),)


def sides(settings: Settings) -> Sides:
    """What takes the organisation's mail, for `explain`. ConfigError: a section is missing."""
    return stack_qmail.any_host(settings) if stack_qmail.is_qmail(settings) else postfix_settings(settings)


def mta_of(postfix: Postfix) -> Mta:
    """How the queue of `[stack.postfix]` is reached."""
    return Mta(_split(postfix.postqueue), _split(postfix.reload or ""), _split(postfix.postsuper))


def smtp_of(text: str | None) -> tuple[str, int] | None:
    """(host, port) of a listener."""
    if text is None:
        return None
    found = endpoint(text)
    return found.host, found.port


def fresh_hours(settings: Settings) -> float:
    """How long a changed route is fresh."""
    stack = settings.stack
    wanted = (stack.qmail or stack.postfix) if stack is not None else None
    return wanted.fresh_hours if wanted is not None else 24.0


def _postfix(one: Queue) -> Mta:
    return Mta(_split(one.postqueue), _split(one.reload or ""), _split(one.postsuper), smtp_of(one.smtp), one.name)


def _qmail(settings: Settings, queues: tuple[Queue, ...]) -> tuple[QmailHost, ...]:
    """What a queue does not say for itself, `[stack.qmail]` says for all."""
    qmail = settings.stack.qmail if settings.stack is not None else None
    if qmail is None:
        raise ConfigError("it needs [stack.qmail]", about="mailferry.toml", advice="see docs/stack-qmail.md")
    if not queues:
        return (QmailHost(_split(qmail.queue), _split(qmail.apply)),)
    return tuple(
        QmailHost(_split(one.queue or qmail.queue), _split(one.apply or qmail.apply), smtp_of(one.smtp), one.name)
        for one in queues
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))
