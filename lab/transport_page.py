"""Writes docs/transport-rules.md from the converter's own tables: `python -m lab.transport_page`. A test compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mailferry.rules.transport_names import ACTIONS, CONDITIONS, Row

PAGE = Path(__file__).parents[1] / "docs" / "transport-rules.md"

HEAD = """\
# Exchange's transport rules, and signatures

    mailferry rules transport transport.json --domain acme.example --output rules

turns the organisation's mail flow rules into files, and puts nothing in force. On Exchange's side:

    Get-TransportRule | ConvertTo-Json -Depth 4 > transport.json

(`Export-Clixml` and `Export-Csv` are read as well; the latter loses lists, and such a rule is left to a human.)

| file | |
|---|---|
| `transport.sieve` | one script that runs for each message before a person's own filter |
| `main.cf`, `client_access.cidr`, `recipient_bcc` | settings of Postfix, where one says just the same as a rule |
| `transport.csv` | each rule: exact, approximate (with the difference) or manual (with what to do), and where it went |

A rule with anything in it that is not known for certain does nothing at all, and is named. Rules that are switched
off or only watched (audit) are named as such. Words are whole words, as in Exchange; patterns are taken over where
POSIX regular expressions mean the same. The organisation's domains (`--domain`) say who is inside.

**What a script cannot see**: it runs where mail is delivered, so mail to people outside, and to those who are still
on Exchange (whose own rules go on), passes it by. A rule without a condition on the recipient is approximate for
that reason.

## Putting it in force
On stores that `mailferry stack` renders: `rules = "rules/transport.sieve"` in `[stack.dovecot]`; render and install.
On another Dovecot, copy the script to `/etc/dovecot/`, name it in the plugin section, and compile it:

    sieve_before = /etc/dovecot/transport.sieve  # sieve_before2 if there is one already; a gap ends the row
    sieve_global_extensions = +editheader        # beside what stands there; personal filters do not get it
    sievec /etc/dovecot/transport.sieve

On each Postfix: copy the tables to `/etc/postfix/transport-rules/` (or wherever `--tables` said), add the lines of
`main.cf`, and `postfix reload`. `stack render` writes main.cf anew: keep these lines with your configuration
management, and look at `mailferry stack render --diff`.

## Signatures
    Get-Mailbox -ResultSize Unlimited | Get-MailboxMessageConfiguration | ConvertTo-Json > signatures.json
    mailferry rules signatures signatures.json --output signatures

writes `signature.html` and `signature.txt` in a folder for each person who has one, to be chosen in their new mail
program. It is what Outlook on the web had. Those of Outlook on a desk stand in each person's
`%APPDATA%\\Microsoft\\Signatures`; roaming signatures of Exchange Online are in no export.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    return f"{HEAD}\n## Conditions and exceptions\n{_table(CONDITIONS)}\n## Actions\n{_table(ACTIONS)}"


def _table(rows: Mapping[str, Row]) -> str:
    lines = ["| Get-TransportRule | in Sieve | rating | |", "|---|---|---|---|"]
    for name, row in rows.items():
        shown = f"`{row.sieve}`" if row.sieve.isascii() and row.sieve[:1].islower() and " " in row.sieve else row.sieve
        lines.append(f"| {name} | {shown} | {row.rating.value} | {row.note} |")
    return "\n".join([*lines, "| any other | | manual | named in the report |"]) + "\n"


if __name__ == "__main__":
    main()
