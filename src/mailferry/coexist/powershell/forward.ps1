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
      $Mailbox = Get-Mailbox @At -Identity $Person.Guid
      $Now = ([string]$Mailbox.ForwardingSmtpAddress) -replace '^smtp:', ''
      if ($Mailbox.ForwardingAddress) { throw "forwards to $($Mailbox.ForwardingAddress): use the step park for it" }
      if ($Now -ne '' -and $Now -ne $Person.To) { throw "forwards to $Now; use the step park for it" }
      if ($Now -eq $Person.To -and -not $Mailbox.DeliverToMailboxAndForward) { continue }
      if (-not $PSCmdlet.ShouldProcess($Person.Mail, "forward to $($Person.To), without a copy")) { continue }
      Save-State $Person.Guid @{ DeliverToMailboxAndForward = [bool]$Mailbox.DeliverToMailboxAndForward }
      Set-Mailbox @At -Identity $Person.Guid -ForwardingSmtpAddress $Person.To -DeliverToMailboxAndForward $false
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
