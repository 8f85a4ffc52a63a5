"""Mail users of the open side as a PowerShell script for the Exchange Management Shell, and the script that undoes it.

Pure: text out, nothing is sent anywhere. The scripts hold data and a fixed program; every text from a directory stands
in single quotes, where PowerShell expands nothing. Invariants: `quote` gives one literal for any text, NUL and curly
quotes included (which PowerShell takes for quotes, too); running a script again changes nothing; an undo touches only
who carries the mark. Neither script has been run on a real Exchange (docs/both-ways.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from mailferry.directory.exchange_plan import MailUser, is_smtp

BOM = "\ufeff"
"""Without it Windows PowerShell reads a file in the ANSI code page."""

_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")  # single quotes for PowerShell's tokenizer


def quote(text: str) -> str:
    """A PowerShell expression whose value is `text`: quoted, quotes doubled; characters that do not print or that turn
    the line around are spelled as `[char]0x…`, so that a reviewer sees all there is."""
    parts: list[str] = []
    plain: list[str] = []
    for one in text:
        if one == " " or (one.isprintable() and not 0xD800 <= ord(one) <= 0xDFFF):
            plain.append(one)
            continue
        if plain:
            parts.append(_literal("".join(plain)))
            plain = []
        parts += [f"[char]0x{unit:04X}" for unit in _units(one)]
    if plain or not parts:
        parts.append(_literal("".join(plain)))
    if len(parts) == 1 and not parts[0].startswith("["):
        return parts[0]
    return "(" + " + ".join(parts if not parts[0].startswith("[") else ["''", *parts]) + ")"


def _literal(text: str) -> str:
    return "'" + _QUOTES.sub(lambda match: match[0] * 2, text) + "'"


def _units(one: str) -> Iterator[int]:
    """UTF-16 code units."""
    data = one.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(data), 2):
        yield int.from_bytes(data[at : at + 2], "big")


_PARAMETERS = (  # Active Directory's attribute, what the script calls it
    ("displayName", "DisplayName"),
    ("givenName", "FirstName"),
    ("sn", "LastName"),
    ("title", "Title"),
    ("department", "Department"),
    ("company", "Company"),
    ("telephoneNumber", "Phone"),
    ("mobile", "MobilePhone"),
    ("physicalDeliveryOfficeName", "Office"),
    ("l", "City"),
)


def script(users: Iterable[MailUser], mark_attribute: str, container: str | None) -> str:
    """The script that makes, enables and changes them."""
    people = "".join(_row(one, one.values) for one in users)
    return BOM + _crlf(_HEAD + _data(people, mark_attribute, container) + _COMMON + _APPLY)


def undo(users: Iterable[MailUser], mark_attribute: str, container: str | None) -> str:
    """The script that takes all of that back."""
    people = "".join(_row(one, one.before) for one in reversed(list(users)))
    return BOM + _crlf(_UNDO_HEAD + _data(people, mark_attribute, container) + _COMMON + _UNDO)


def _crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def _data(people: str, mark_attribute: str, container: str | None) -> str:
    custom = mark_attribute.replace("extensionAttribute", "CustomAttribute")
    unit = quote(container) if container else "$null"
    return f"$MarkAttribute = '{custom}'\n$OrganizationalUnit = {unit}\n$People = @(\n{people})\n"


def _row(one: MailUser, values: Mapping[str, tuple[str, ...]]) -> str:
    """One person. Of an undo of a change, `values` are those before it."""
    first = {name: next(iter(values.get(name, ())), "") for name in ("mail", "mailNickname", "targetAddress")}
    smtp = filter(is_smtp, values.get("proxyAddresses", ()))
    pairs = [
        ("How", quote(one.how.value)),
        ("Mark", quote(one.mark)),
        ("Name", quote(one.name)),
        ("Account", quote(one.account)),
        ("Principal", quote(one.principal)),
        ("Primary", quote(first["mail"])),
        ("Alias", quote(first["mailNickname"])),
        ("External", quote(first["targetAddress"])),
        ("Addresses", "@(" + ", ".join(map(quote, smtp)) + ")"),
        ("Hidden", "$true" if values.get("msExchHideFromAddressLists") == ("TRUE",) else "$false"),
    ]
    shown = "; ".join(f"{name} = {value}" for name, value in pairs)
    person = "; ".join(
        f"{name} = {quote(next(iter(values[attribute]), ''))}" for attribute, name in _PARAMETERS if attribute in values
    )
    return f"  @{{ {shown};\n     Person = @{{ {person} }} }}\n"


_PARAM = """\
#Requires -Version 5.1
[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
"""

_HEAD = (
    """\
# Written by Mailferry. People of the open side become mail users, so that they stand in Exchange's address list.
# Read it, then run it in the Exchange Management Shell; first with -WhatIf. Running it again changes nothing.
"""
    + _PARAM
)

_UNDO_HEAD = (
    """\
# Written by Mailferry. Takes back what the script beside it made: only who carries the mark of that script.
# Read it, then run it in the Exchange Management Shell; first with -WhatIf.
"""
    + _PARAM
)

_COMMON = """\
$At = @{ DomainController = $DomainController }
$Script:Failed = 0

function Find-Marked($Mark) {
  $Found = @(Get-Recipient @At -ResultSize 2 -Filter "$MarkAttribute -eq '$Mark'")
  if ($Found.Count -gt 1) { throw "two recipients carry the mark $Mark" }
  if ($Found.Count -eq 1) { return $Found[0] }
}

function Get-Guid($Recipient) { return $Recipient.Guid.ToString() }

function Set-MailPart($Guid, $Person) {
  $Values = @{
    Identity = $Guid; Alias = $Person.Alias; ExternalEmailAddress = $Person.External
    EmailAddressPolicyEnabled = $false; HiddenFromAddressListsEnabled = $Person.Hidden
    UseMapiRichTextFormat = 'Never'
  }
  Set-MailUser @At @Values
  $Present = (Get-MailUser @At -Identity $Guid).EmailAddresses | ForEach-Object { $_.ToString() }
  $Others = @($Present | Where-Object { $_ -notmatch '^smtp:' })
  Set-MailUser @At -Identity $Guid -EmailAddresses (@($Person.Addresses) + $Others)
}

function Set-PersonPart($Guid, $Person) {
  $Values = @{}
  foreach ($Key in $Person.Person.Keys) {
    $Values[$Key] = if ($Person.Person[$Key] -eq '') { $null } else { $Person.Person[$Key] }
  }
  if ($Values.Count -gt 0) { Set-User @At -Identity $Guid @Values }
}

"""

_APPLY = """\
function Find-Holder($Addresses) {
  foreach ($Address in $Addresses) {
    $Plain = ($Address -replace '^[Ss][Mm][Tt][Pp]:', '').Replace("'", "''")
    $Found = @(Get-Recipient @At -ResultSize 1 -Filter "EmailAddresses -eq 'smtp:$Plain'")
    if ($Found.Count -gt 0) { return $Found[0] }
  }
}

# A password that nobody knows: the account is not for logging in.
function New-Secret {
  $Bytes = New-Object byte[] 48
  $Random = [System.Security.Cryptography.RandomNumberGenerator]::Create()
  $Random.GetBytes($Bytes)
  $Random.Dispose()
  return ConvertTo-SecureString -AsPlainText -Force ('aA1!' + [Convert]::ToBase64String($Bytes))
}

function Set-Mark($Guid, $Mark) {
  $Value = @{ $MarkAttribute = $Mark }
  Set-MailUser @At -Identity $Guid @Value
}

foreach ($Person in $People) {
  try {
    $Present = Find-Marked $Person.Mark
    if ($Present) {
      if ($Present.RecipientType -ne 'MailUser') { throw "is a $($Present.RecipientType) by now; left alone" }
      if ($PSCmdlet.ShouldProcess($Person.Name, 'Set-MailUser')) {
        $Guid = Get-Guid $Present
        Set-MailPart $Guid $Person
        Set-PersonPart $Guid $Person
      }
      continue
    }
    if ($Person.How -eq 'update') { throw 'nobody carries the mark any more; left alone' }
    $Holder = Find-Holder (@($Person.Addresses) + $Person.External)
    if ($Holder) { throw "an address is that of $($Holder.DistinguishedName); left out" }
    if ($Person.How -eq 'enable') {
      if ($PSCmdlet.ShouldProcess($Person.Name, 'Enable-MailUser')) {
        $Made = Enable-MailUser @At -Identity $Person.Account -ExternalEmailAddress $Person.External `
          -Alias $Person.Alias -PrimarySmtpAddress $Person.Primary
        $Guid = Get-Guid $Made
        try { Set-Mark $Guid $Person.Mark } catch { Disable-MailUser @At -Identity $Guid -Confirm:$false; throw }
        Set-MailPart $Guid $Person
      }
    } else {
      if ($PSCmdlet.ShouldProcess($Person.Name, 'New-MailUser')) {
        $Values = @{
          Name = $Person.Name; SamAccountName = $Person.Account; UserPrincipalName = $Person.Principal
          ExternalEmailAddress = $Person.External; Alias = $Person.Alias; PrimarySmtpAddress = $Person.Primary
          Password = New-Secret
        }
        if ($OrganizationalUnit) { $Values.OrganizationalUnit = $OrganizationalUnit }
        $Made = New-MailUser @At @Values
        $Guid = Get-Guid $Made
        try { Set-Mark $Guid $Person.Mark } catch { Remove-MailUser @At -Identity $Guid -Confirm:$false; throw }
        Set-MailPart $Guid $Person
        Set-PersonPart $Guid $Person
      }
    }
  } catch {
    $Script:Failed += 1
    Write-Warning "$($Person.Name): $_"
  }
}
Write-Output "$($People.Count - $Script:Failed) of $($People.Count) done"
"""

_UNDO = """\
foreach ($Person in $People) {
  try {
    $Present = Find-Marked $Person.Mark
    if (-not $Present) { continue }
    if ($Present.RecipientType -ne 'MailUser') { throw "is a $($Present.RecipientType) by now; left alone" }
    $Guid = Get-Guid $Present
    if ($Person.How -eq 'update') {
      if ($PSCmdlet.ShouldProcess($Person.Name, 'Set-MailUser (as before)')) {
        Set-MailPart $Guid $Person
        Set-PersonPart $Guid $Person
      }
    } elseif ($Person.How -eq 'enable') {
      if ($PSCmdlet.ShouldProcess($Person.Name, 'Disable-MailUser')) {
        Disable-MailUser @At -Identity $Guid -Confirm:$false
      }
    } elseif ($PSCmdlet.ShouldProcess($Person.Name, 'Remove-MailUser')) {
      Remove-MailUser @At -Identity $Guid -Confirm:$false
    }
  } catch {
    $Script:Failed += 1
    Write-Warning "$($Person.Name): $_"
  }
}
Write-Output "$($People.Count - $Script:Failed) of $($People.Count) done"
"""
