[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController
)
#{data}
#{common}
try {
  foreach ($Person in $People) {
    try {
      $State = Read-State
      if (-not $State.ContainsKey($Person.Guid)) { continue }
      $Mailbox = Get-Mailbox @At -Identity $Person.Guid
      $Now = ([string]$Mailbox.ForwardingSmtpAddress) -replace '^smtp:', ''
      if ($Now -ne '' -and $Now -ne $Person.To) { throw "forwards to $Now by now; left alone" }
      if (-not $PSCmdlet.ShouldProcess($Person.Mail, 'forward no more')) { continue }
      $Copy = [bool]$State[$Person.Guid].DeliverToMailboxAndForward
      Set-Mailbox @At -Identity $Person.Guid -ForwardingSmtpAddress $null -DeliverToMailboxAndForward $Copy
      Remove-State $Person.Guid
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
