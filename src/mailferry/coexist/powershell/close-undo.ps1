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
      $On = @{}
      foreach ($Property in $State[$Person.Guid].PSObject.Properties) { $On[$Property.Name] = $Property.Value }
      if (-not $PSCmdlet.ShouldProcess($Person.Mail, "as before: $(($On.Keys | Sort-Object) -join ', ')")) { continue }
      Set-CASMailbox @At -Identity $Person.Guid @On
      Remove-State $Person.Guid
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
