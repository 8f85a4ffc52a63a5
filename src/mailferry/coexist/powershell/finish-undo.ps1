[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController
)
#{data}
#{common}
Import-Module ActiveDirectory
Write-Warning 'THIS CONNECTS OLD MAILBOXES AGAIN, with what was in them when they were ended and NOTHING that came since.'
Write-Warning 'It only works while the database still keeps them (MailboxRetention, mostly 30 days).'
Write-Warning 'Mail goes on to the open side afterwards, as before finish.ps1.'

try {
  foreach ($Person in $People) {
    try {
      $State = Read-State
      if (-not $State.ContainsKey($Person.Guid)) { continue }
      $Before = $State[$Person.Guid]
      $Kind = [string](Get-User @At -Identity $Person.Guid).RecipientType
      if ($Kind -notin @('MailUser', 'User', 'UserMailbox')) { throw "is a $Kind by now; left alone" }
      if ($Kind -ne 'UserMailbox') {
        $Old = @(Get-MailboxStatistics -Database $Before.Database |
          Where-Object { $_.MailboxGuid.ToString() -eq $Before.ExchangeGuid })
        if ($Old.Count -ne 1) { throw "$($Before.Database) does not keep its old mailbox any more" }
      }
      if (-not $PSCmdlet.ShouldProcess($Person.Mail, 'connect the old mailbox again')) { continue }
      if ($Kind -eq 'MailUser') { Disable-MailUser @At -Identity $Person.Guid -Confirm:$false }
      if ($Kind -ne 'UserMailbox') {
        Update-StoreMailboxState -Database $Before.Database -Identity $Before.ExchangeGuid -Confirm:$false
        Connect-Mailbox @At -Identity $Before.ExchangeGuid -Database $Before.Database -User $Person.Guid `
          -Alias $Before.Values.Alias -AllowLegacyDNMismatch -Confirm:$false
      }
      # First of all mail goes on to the open side, as before.
      if ($Before.TargetAddress -ne '') {
        $Target = @{ targetAddress = $Before.TargetAddress }
        Set-ADObject -Server $DomainController -Identity $Person.Guid -Replace $Target
      }
      $Values = @{}
      foreach ($Property in $Before.Values.PSObject.Properties) {
        if ($Property.Name -eq 'EmailAddressPolicyEnabled' -or [string]$Property.Value -eq '') { continue }
        $Values[$Property.Name] = $Property.Value
      }
      Set-Mailbox @At -Identity $Person.Guid -EmailAddressPolicyEnabled $false @Values
      $Own = "X500:$($Before.LegacyExchangeDN)"
      $Addresses = @($Before.EmailAddresses) + @($Own | Where-Object { $Before.EmailAddresses -notcontains $_ })
      Set-Mailbox @At -Identity $Person.Guid -EmailAddresses $Addresses
      if ($Before.Values.EmailAddressPolicyEnabled) {
        Set-Mailbox @At -Identity $Person.Guid -EmailAddressPolicyEnabled $true
      }
      if ($Before.GrantSendOnBehalfTo.Count -gt 0) {
        Set-Mailbox @At -Identity $Person.Guid -GrantSendOnBehalfTo $Before.GrantSendOnBehalfTo
      }
      Remove-State "done $($Person.Guid)"
      Remove-State $Person.Guid
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
