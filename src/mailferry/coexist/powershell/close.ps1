[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController,
  # IMAP and EWS are left on, since Mailferry reads the old mailbox by one of them until the last sweep.
  [ValidateSet('MAPI', 'OWA', 'ActiveSync', 'POP', 'IMAP', 'EWS')]
  [string[]] $Protocols = @('MAPI', 'OWA', 'ActiveSync', 'POP')
)
#{data}
#{common}
$Names = @{
  MAPI = 'MAPIEnabled'; OWA = 'OWAEnabled'; ActiveSync = 'ActiveSyncEnabled'
  POP = 'PopEnabled'; IMAP = 'ImapEnabled'; EWS = 'EwsEnabled'
}

try {
  foreach ($Person in $People) {
    try {
      $Mailbox = Get-CASMailbox @At -Identity $Person.Guid
      $Before = @{}
      $Off = @{}
      foreach ($Protocol in $Protocols) {
        $Name = $Names[$Protocol]
        if ($Mailbox.$Name -eq $false) { continue }
        $Before[$Name] = $Mailbox.$Name
        $Off[$Name] = $false
      }
      if ($Off.Count -eq 0) { continue }
      if (-not $PSCmdlet.ShouldProcess($Person.Mail, "off: $(($Off.Keys | Sort-Object) -join ', ')")) { continue }
      Save-State $Person.Guid $Before
      Set-CASMailbox @At -Identity $Person.Guid @Off
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
