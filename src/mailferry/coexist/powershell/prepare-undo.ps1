[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController,
  # Although recipients still have their mail at the open side.
  [switch] $Force
)
#{data}
#{common}
Import-Module ActiveDirectory

try {
  $There = @(Get-ADObject -Server $DomainController -LDAPFilter "(targetAddress=smtp:*@$OpenDomain)" -ResultSetSize 5)
  if ($There.Count -gt 0 -and -not $Force) {
    $Names = ($There | ForEach-Object { $_.Name }) -join ', '
    throw "mail of $Names and perhaps others goes to the open side, and would find no way any more"
  }
  # First whose mail takes the way, then the way.
  foreach ($Domain in $SharedDomains) {
    try {
      $State = Read-State
      if (-not $State.ContainsKey("accepted $Domain")) { continue }
      $Before = $State["accepted $Domain"]
      if (-not $PSCmdlet.ShouldProcess($Domain, "InternalRelay becomes $($Before.DomainType)")) { continue }
      Set-AcceptedDomain @At -Identity $Before.Name -DomainType $Before.DomainType
      Remove-State "accepted $Domain"
      $Script:Changed += 1
    } catch { Write-Failure $Domain $_ }
  }
  if ($Script:Failed -gt 0) { throw 'a domain is still shared, so the way to the open side stays' }
  foreach ($New in $NewDomains) {
    try {
      $State = Read-State
      if (-not $State.ContainsKey("accepted $($New.Domain)")) { continue }
      $Name = $State["accepted $($New.Domain)"].Name
      if (-not $PSCmdlet.ShouldProcess($New.Domain, 'accept the domain no more')) { continue }
      if (@(Get-AcceptedDomain @At | Where-Object { $_.Name -eq $Name }).Count -gt 0) {
        Remove-AcceptedDomain @At -Identity $Name -Confirm:$false
      }
      Remove-State "accepted $($New.Domain)"
      $Script:Changed += 1
    } catch { Write-Failure $New.Domain $_ }
  }
  $State = Read-State
  if ($State.ContainsKey('connector') -and $PSCmdlet.ShouldProcess($ConnectorName, 'remove the send connector')) {
    try {
      if (@(Get-SendConnector @At | Where-Object { $_.Name -eq $ConnectorName }).Count -gt 0) {
        Remove-SendConnector @At -Identity $ConnectorName -Confirm:$false
      }
      Remove-State 'connector'
      $Script:Changed += 1
    } catch { Write-Failure $ConnectorName $_ }
  }
  foreach ($Domain in @($OpenDomain) + $SharedDomains) {
    try {
      $State = Read-State
      if (-not $State.ContainsKey("remote $Domain")) { continue }
      $Before = $State["remote $Domain"]
      $Made = [bool]($Before.PSObject.Properties.Name -contains 'Made')
      if (-not $PSCmdlet.ShouldProcess($Before.Name, 'the remote domain as before')) { continue }
      if ($Made) {
        if (@(Get-RemoteDomain @At | Where-Object { $_.Name -eq $Before.Name }).Count -gt 0) {
          Remove-RemoteDomain @At -Identity $Before.Name -Confirm:$false
        }
      } else {
        Set-RemoteDomain @At -Identity $Before.Name -TNEFEnabled $Before.TNEFEnabled
      }
      Remove-State "remote $Domain"
      $Script:Changed += 1
    } catch { Write-Failure $Domain $_ }
  }
  Write-Output "$($Script:Changed) changed, $($Script:Failed) failed"
} catch { Write-Failure 'prepare-undo' $_ } finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
