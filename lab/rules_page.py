"""Writes docs/rules.md from the converter's own tables: `python -m lab.rules_page`. A test compares."""

from __future__ import annotations

from pathlib import Path

from mailferry.rules.names import ACTIONS, CONDITIONS, Row

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"

HEAD = """\
# Exchange's rules as Sieve

    mailferry rules convert ann.json ben.xml --output sieve

turns exports into one Sieve script for each mailbox and a report, `rules.csv`. It needs no server, no settings and no
Exchange. On Exchange's side:

    Get-InboxRule -Mailbox ann | ConvertTo-Json -Depth 4 > ann.json
    Get-MailboxAutoReplyConfiguration ann | ConvertTo-Json > ann-away.json
    Get-MailboxJunkEmailConfiguration ann | ConvertTo-Json > ann-junk.json
    Get-Mailbox ann | ConvertTo-Json > ann-mailbox.json      # forwarding of all mail

Also read: `Export-Clixml`, `Export-Csv -Encoding UTF8` (which loses lists: a rule with a lost list is left to a human;
without `-Encoding`, Windows PowerShell writes `?` for every letter beyond A to Z, and nobody can tell), Graph's
`messageRules` and `mailboxSettings`, and the answers of EWS to GetInboxRules and GetUserOofSettings. Graph and EWS do
not say whose mailbox it is: the file's name does (`ann@acme.example.json`, `ann@acme.example.away.json`), and comes
before what an export calls its owner. How they are uploaded, and go with people in a wave: [rules go with
people](rules-upload.md).

| option | |
|---|---|
| `--owners FILE.csv` | `owner,addresses`: a mailbox as the export calls it, all its addresses, the main one first |
| `--domain NAME` | the organisation's domains: out-of-office texts differ inside and outside |
| `--separator`, `--extensions`, `--redirects` | of the server: in folder names, what it announces, how many |

Each rule comes out as **exact**, **approximate** (with the difference in a sentence) or **manual** (with what its
owner has to do). Never a guess: a rule with a condition, a person or a folder that is not known does nothing at all,
and says so. Rules that are switched off stay in the script as comments; those that Exchange itself did not run are
named. What a lost rule would have stopped makes all rules after it approximate. So does a rule that files and lets
others go on, for those that mark: Sieve marks only what is filed later. Nothing is deleted that was also to be passed
on, when passing it on is not possible.

In the script: forwarding of all mail first, then blocked senders, then out-of-office (it answers whatever the rules
do), then the rules in their order. Values of one condition are alternatives, conditions all have to fit, one
exception is enough to stop a rule. A time without a zone is taken for UTC, and said to be. Letters beyond A to Z are
compared as written, in capitals and in small letters, since Sieve knows no more.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    conditions = [(what.value, row) for what, row in CONDITIONS.items()]
    actions = [(what.value, row) for what, row in ACTIONS.items()]
    return f"{HEAD}\n## Conditions and exceptions\n{_table(conditions)}\n## Actions\n{_table(actions)}"


def _table(rows: list[tuple[str, Row]]) -> str:
    lines = ["| EWS | PowerShell | Graph | in Sieve | rating | |", "|---|---|---|---|---|---|"]
    for name, row in rows:
        powershell = ", ".join(row.powershell)
        sieve = f"`{row.sieve}`" if row.sieve else ""
        lines.append(f"| {name} | {powershell} | {row.graph} | {sieve} | {row.rating.value} | {row.note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
