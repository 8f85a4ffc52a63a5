[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # The domain controller that is written to.
  [Parameter(Mandatory = $true)] [string] $DomainController,
  # All that Exchange's servers ask. The script waits until each of them shows the change.
  [string[]] $Controllers = @(),
  # Seconds that it waits for them.
  [int] $Seconds = 900
)
#{data}
#{common}
# targetAddress of a mailbox is no parameter of any command of Exchange: Set-Mailbox has none, and Set-MailUser refuses
# mailboxes. So it is set as an attribute, with the module that every Exchange server has (RSAT-ADDS).
Import-Module ActiveDirectory

function Get-Target($Person, $Server) {
  $Found = Get-ADObject -Server $Server -Identity $Person.Guid -Properties 'targetAddress', 'msExchMailboxGuid'
  if (-not $Found['msExchMailboxGuid'].Value) { throw "has no mailbox in Exchange at $Server; left alone" }
  return [string]$Found['targetAddress'].Value
}

try {
  $Done = @()
  foreach ($Person in $People) {
    try {
      $Now = Get-Target $Person $DomainController
      if ($Now -ne $Person.To) {
        if ($Now -ne $Person.From) { throw "its targetAddress is '$Now' by now; left alone" }
        if (-not $PSCmdlet.ShouldProcess($Person.Mail, "targetAddress: '$Now' becomes '$($Person.To)'")) { continue }
        if ($Person.To -eq '') {
          Set-ADObject -Server $DomainController -Identity $Person.Guid -Clear targetAddress
        } else {
          Set-ADObject -Server $DomainController -Identity $Person.Guid -Replace @{ targetAddress = $Person.To }
        }
        $Script:Changed += 1
      }
      $Done += $Person
    } catch { Write-Failure $Person.Mail $_ }
  }
  $End = (Get-Date).AddSeconds($Seconds)
  foreach ($Controller in $Controllers) {
    foreach ($Person in $Done) {
      try {
        while ((Get-Target $Person $Controller) -ne $Person.To) {
          if ((Get-Date) -gt $End) { throw "$Controller does not show it yet: run the script again" }
          Start-Sleep -Seconds 5
        }
      } catch { Write-Failure $Person.Mail $_ }
    }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
