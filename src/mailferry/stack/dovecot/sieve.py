"""Sieve on a store: what filters may do, and Junk, which rspamd learns from if that is switched on.

Text only (doc.dovecot.org/2.3: Pigeonhole). Invariant: a person's own filter can run no program and change
no header.
"""

from __future__ import annotations

from collections.abc import Iterator

from mailferry.stack.dovecot.settings import Rspamd, Settings, written
from mailferry.stack.file import File

BEFORE, SPAM, HAM, LEARN = "spam-to-junk.sieve", "learn-spam.sieve", "learn-ham.sieve", "rspamd-learn"
RULES = "transport.sieve"
SCRIPTS = (BEFORE, SPAM, HAM, RULES)
"""Those that install.sh compiles, since a person's process cannot write beside them."""


_LEARNING = ["+vnd.dovecot.pipe", "+vnd.dovecot.environment"]


def plugin(settings: Settings) -> str:
    """The lines for the plugin section."""
    store = settings.store
    assert store is not None
    lines = """\

  # A person's filters: ~/sieve/*.sieve, edited over ManageSieve; the active one is ~/.dovecot.sieve.
  sieve = file:~/sieve;active=~/.dovecot.sieve
  # All that Pigeonhole offers by default (fileinto, vacation, imap4flags, copy, include, variables, body, enotify,
  # date, duplicate, mime, ...) and vacation-seconds. What edits headers (editheader) or runs programs is not.
  sieve_extensions = +vacation-seconds
  sieve_max_script_size = 1M
  sieve_max_actions = 64
  sieve_max_redirects = 8
  sieve_max_cpu_time = 10s
  sieve_quota_max_scripts = 32
  sieve_quota_max_storage = 8M
  sieve_vacation_min_period = 1h
  sieve_vacation_default_period = 7d
  sieve_vacation_max_period = 60d
  # Mail for an alias was for this person, too, though Postfix has made it the primary address.
  sieve_vacation_use_original_recipient = yes
  sieve_vacation_send_from_recipient = yes
"""
    if store.rspamd is not None:
        lines += _junk(settings, store.rspamd)
    if store.before:
        name = "sieve_before2" if store.rspamd else "sieve_before"  # a gap in the numbers would end them
        place = f"{settings.config_dir}/{RULES}"
        lines += f"\n  # The organisation's rules, before a person's own filter.\n  {name} = {place}\n"
    more = [*(["+editheader"] if store.before else []), *(_LEARNING if store.rspamd else [])]
    return lines + (f"  # For these scripts alone.\n  sieve_global_extensions = {' '.join(more)}\n" if more else "")


def _junk(settings: Settings, rspamd: Rspamd) -> str:
    here = settings.config_dir
    return f"""
  # What rspamd has marked goes into {rspamd.folder} before the person's own filter; what they move into it or out of it
  # teaches rspamd. What a copy of a mailbox brings (APPEND) does not.
  sieve_before = {here}/{BEFORE}
  sieve_plugins = sieve_imapsieve sieve_extprograms
  sieve_pipe_bin_dir = {here}/pipe
  imapsieve_mailbox1_name = {rspamd.folder}
  imapsieve_mailbox1_causes = COPY
  imapsieve_mailbox1_before = file:{here}/{SPAM}
  imapsieve_mailbox2_name = *
  imapsieve_mailbox2_from = {rspamd.folder}
  imapsieve_mailbox2_causes = COPY
  imapsieve_mailbox2_before = file:{here}/{HAM}
"""


def files(settings: Settings) -> Iterator[File]:
    """The scripts of everybody, and the program that they hand messages to."""
    store = settings.store
    if store is not None and store.before:
        yield File(RULES, store.before.encode(), place=settings.config_dir / RULES)
    if store is None or store.rspamd is None:
        return
    rspamd, here = store.rspamd, settings.config_dir
    to_junk = f"""\
# Before a person's own filter: what rspamd has marked as spam.
require ["fileinto", "mailbox"];
if header :contains "X-Spam" "Yes" {{
    fileinto :create "{rspamd.folder}";
    stop;
}}
"""
    # What goes from Junk into Trash is not thereby wanted mail.
    ham = """\
# A message was moved out of Junk: rspamd learns that it is wanted. One that goes into Trash teaches nothing.
require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment", "variables"];
if environment :matches "imap.mailbox" "*" {
    set "folder" "${1}";
}
if string "${folder}" "Trash" {
    stop;
}
"""
    spam = """\
# A message was moved into Junk: rspamd learns that it is spam.
require ["vnd.dovecot.pipe", "copy", "imapsieve"];
"""
    learn = f"""\
#!/bin/sh
# Hands a message to rspamd: learn_spam or learn_ham. One that it cannot take is no reason to refuse the move.
exec rspamc -h {written(rspamd.controller)} "$1" > /dev/null
"""
    for name, text in (
        (BEFORE, to_junk),
        (SPAM, f'{spam}pipe :copy :try "{LEARN}" ["learn_spam"];\n'),
        (HAM, f'{ham}pipe :copy :try "{LEARN}" ["learn_ham"];\n'),
    ):
        yield File(name, text.encode(), place=here / name)
    yield File(LEARN, learn.encode(), 0o755, here / "pipe" / LEARN)
