"""Writes docs/sharing.md from the converter itself: `python -m lab.sharing_page`. A test compares."""

from __future__ import annotations

from pathlib import Path

from mailferry.model.permission import Access, Permission
from mailferry.sharing.convert import Converted, convert
from mailferry.sharing.names import BUSY, FULL, RIGHTS, ROLES

PAGE = Path(__file__).parents[1] / "docs" / "sharing.md"

HEAD = """\
# Who may open whose folders, and send with whose address

    mailferry sharing convert permissions.json --output report   # what becomes of each entry; needs no server
    mailferry sharing fetch ann@acme.example --from 'ews://ex1.acme.example?admin=svc' --output exchange
    mailferry sharing plan permissions.json senders.json         # note it; full access in the directory, too
    mailferry sharing plan --send-as                             # Send As from Active Directory's access lists
    mailferry sharing show ann@acme.example                      # how far each is
    mailferry sharing apply                                      # give what can be given by now

`plan` gives nothing: it writes grants into the ledger. A right is given when **both sides are on the open side**:
the switch of a move gives those of its own people, also those that waited there for them since an earlier wave, and
a rollback takes them back. `apply` does the same for everybody at any time: after a new plan, after folders were
made, or after a store was away. Only what Mailferry has added is ever taken back; what an owner gives or has given
stays. Run again, nothing changes.

| a grant is | |
|---|---|
| wanted | it could be in force and is not: `show` says why (no such folder, a store away); `apply` tries again |
| waiting | somebody is still on Exchange |
| applied | in force |
| withdrawn | taken back: somebody went back to Exchange, or a later plan does not want it |

`fetch` asks Exchange itself over EWS about folders and delegates, and writes files that the others read. Full access
and Send As are not in EWS: they come from the directory, or from PowerShell.

## Exports
Get-MailboxFolderPermission does not say whose folder it shows, nor which of several with one name; so these lines
add it. In the Exchange Management Shell:

    $all = foreach ($m in Get-Mailbox -ResultSize Unlimited) {
      $mail = $m.PrimarySmtpAddress.ToString()
      foreach ($f in Get-MailboxFolderStatistics $mail) {
        $path = $f.FolderPath.Replace('/', '\\')
        Get-MailboxFolderPermission ($mail + ':' + $path) -ErrorAction SilentlyContinue |
          Select-Object @{n='Mailbox';e={$mail}}, @{n='FolderPath';e={$path}}, User, AccessRights,
            SharingPermissionFlags
      }
    }
    $all | ConvertTo-Json -Depth 5 > permissions.json
    Get-Mailbox -ResultSize Unlimited | Get-MailboxPermission | ConvertTo-Json -Depth 3 > mailboxes.json
    Get-Mailbox -ResultSize Unlimited | Get-ADPermission | Where-Object { $_.ExtendedRights -like '*Send-As*' } |
      Select-Object Identity, User, ExtendedRights, Deny, IsInherited | ConvertTo-Json -Depth 3 > senders.json
    Get-Mailbox -ResultSize Unlimited | Select-Object PrimarySmtpAddress, GrantSendOnBehalfTo |
      ConvertTo-Json -Depth 3 > behalf.json

Exchange Online has Get-RecipientPermission in place of Get-ADPermission. `Export-Clixml` and `Export-Csv` are read,
too; the latter loses lists, and an entry whose rights were lost is left to a human. A file that does not say whose
mailbox it is about is about the one that it is named after (`ann@acme.example.json`).

**Who is meant** is found by address, X.500 name, account (`ACME\\ann`, the uid) or id. A display name is not
certain: `--names` takes it for the one person in the directory who has it, where nobody else does. Groups stand for
their members of the day of the plan, in groups of at most 100; plan again when they change. A mailbox that a file
tells about is wanted as the file says; what earlier files told of others stays. What Active Directory knows
(msExchDelegateListLink: full access; publicDelegates: on behalf) `directory sync` has brought already: full access
is planned from there, and who may send on behalf is in force at once ([Postfix](stack-postfix.md)).

## Folders of messages
IMAP's rights (RFC 4314): `l` sees the folder, `r` reads, `s` and `w` change marks, `i` adds, `t` and `e` delete,
`k` makes folders below, `x` deletes the folder, `a` gives rights. The mailbox of ann is `user/ann/...` in the
others' mail programs, which subscribe what they get; both have to be on one store. Folders are found where the copy
has put them.
"""

TAIL = f"""
Everybody's entry (Default) and that of people outside (Anonymous) are left to a human where they give anything;
that Default sees when somebody is busy is Exchange's own default, and nothing to carry. Entries of accounts that
are gone, of inherited rights of administrators, and of the owner are named in the report, and give nothing. What an
entry denies, no other entry gives. Items have no owner in IMAP, so that rights on one's own items are not carried.

## The whole mailbox, and sending
| Exchange | open side | rating |
|---|---|---|
| Full Access | `{FULL}` on each folder, also those that are made until the next `apply` | exact |
| Send As | `mailferrySendAs` of the mailbox's entry: Postfix takes its address from that log-in | exact |
| Send on Behalf | the same; messages do not say on whose behalf | approximate |

The right to send needs only the person to have moved: a secretary goes on sending for a boss who is still on
Exchange. With Active Directory as the only directory it stands in the attribute that `coexist.ad.send_as` names;
without one, `show` says so.

## Calendars and address books
Radicale knows reading and changing of a whole collection, nothing between, and mail programs do not find others'
collections by themselves. It shows private items to whoever reads. So the report says what each entry would be
there (`r`, `rw`), and a human gives it.

## What is not carried
Rights on public folders (they stay on Exchange), on folders of notes and journals, rights of groups as groups,
delegates' copies of meeting requests, and whose private items a delegate sees. `sharing.csv` names each with its
owner.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    return HEAD + _roles() + _rights() + TAIL


def _roles() -> str:
    lines = ["", "| role | IMAP | rating | what is lost | calendar | |", "|---|---|---|---|---|---|"]
    for role in ROLES:
        mail, calendar = _made("Projects", role), _made("Calendar", role)
        shared = f"`{calendar.dav}`" if calendar.dav else ""
        rights = f"`{mail.rights}`" if mail.rights else ""
        told = "; ".join(mail.notes)
        lines.append(f"| {role} | {rights} | {mail.rating.value} | {told} | {shared} | {'; '.join(calendar.notes)} |")
    return "\n".join(lines) + "\n"


def _rights() -> str:
    lines = ["", "| single right | IMAP | rating | what is lost |", "|---|---|---|---|"]
    for right in RIGHTS:
        one = _made("Projects", right)
        lines.append(
            f"| {right} | {f'`{one.rights}`' if one.rights else ''} | {one.rating.value} | {'; '.join(one.notes)} |"
        )
    for right in BUSY:
        one = _made("Calendar", right)
        lines.append(f"| {right} (calendars) | | {one.rating.value} | {'; '.join(one.notes)} |")
    return "\n".join(lines) + "\n"


def _made(folder: str, *rights: str) -> Converted:
    return convert(Permission("ann@acme.example", "bob@acme.example", Access.FOLDER, "", folder, rights))


if __name__ == "__main__":
    main()
