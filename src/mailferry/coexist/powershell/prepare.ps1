[CmdletBinding(SupportsShouldProcess = $true)]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController,
  # The servers that send to the open side. Default: all with the transport service.
  [string[]] $SourceTransportServers = @()
)
#{data}
#{common}
function Find-Accepted($Domain) {
  return @(Get-AcceptedDomain @At | Where-Object { $_.DomainName.ToString() -eq $Domain })
}

try {
  # First the way there, and only then whose mail takes it.
  foreach ($Domain in @($OpenDomain) + $SharedDomains) {
    try {
      $Present = @(Get-RemoteDomain @At | Where-Object { $_.DomainName.ToString() -eq $Domain })
      $Name = "Mailferry $Domain"
      if ($Present.Count -gt 0 -and $Present[0].Name -ne $Name) {
        if ($Present[0].TNEFEnabled -eq $false) { continue }
        if (-not $PSCmdlet.ShouldProcess($Present[0].Name, 'remote domain: no TNEF (winmail.dat)')) { continue }
        Save-State "remote $Domain" @{ Name = $Present[0].Name; TNEFEnabled = $Present[0].TNEFEnabled }
        Set-RemoteDomain @At -Identity $Present[0].Name -TNEFEnabled $false
        $Script:Changed += 1
        continue
      }
      if ($Present.Count -eq 0) {
        if (-not $PSCmdlet.ShouldProcess($Name, 'make the remote domain')) { continue }
        Save-State "remote $Domain" @{ Name = $Name; Made = $true }
        $null = New-RemoteDomain @At -Name $Name -DomainName $Domain
        $Script:Changed += 1
      } elseif (-not $PSCmdlet.ShouldProcess($Name, 'set up the remote domain')) { continue }
      Set-RemoteDomain @At -Identity $Name -TNEFEnabled $false -AllowedOOFType InternalLegacy -AutoReplyEnabled $true `
        -AutoForwardEnabled $true -DeliveryReportEnabled $true -NDREnabled $true
    } catch { Write-Failure $Domain $_ }
  }

  try {
    $Present = @(Get-SendConnector @At | Where-Object { $_.Name -eq $ConnectorName })
    if ($Present.Count -eq 0) {
      $Servers = $SourceTransportServers
      if ($Servers.Count -eq 0) { $Servers = @(Get-TransportService | ForEach-Object { $_.Name }) }
      if ($PSCmdlet.ShouldProcess($ConnectorName, "make the send connector to $($SmartHost):$Port")) {
        Save-State 'connector' @{ Name = $ConnectorName; Made = $true }
        $null = New-SendConnector @At -Name $ConnectorName -Usage Internal -DNSRoutingEnabled $false `
          -AddressSpaces (@($OpenDomain) + $SharedDomains | ForEach-Object { "SMTP:$_;1" }) -SmartHosts $SmartHost `
          -Port $Port -SmartHostAuthMechanism None -SourceTransportServers $Servers -MaxMessageSize unlimited
        $Script:Changed += 1
      }
    } elseif (($Present[0].SmartHosts -join ',') -notmatch [regex]::Escape($SmartHost) -or $Present[0].Port -ne $Port) {
      throw "it leads to $($Present[0].SmartHosts):$($Present[0].Port), not to $($SmartHost):$Port; left alone"
    }
  } catch { Write-Failure $ConnectorName $_ }
  if ($Script:Failed -gt 0) { throw 'the way to the open side is not complete, so no domain is shared yet' }

  foreach ($New in $NewDomains) {
    try {
      $Present = Find-Accepted $New.Domain
      if ($Present.Count -gt 0) {
        if ([string]$Present[0].DomainType -ne $New.Type) { throw "is $($Present[0].DomainType); left alone" }
        continue
      }
      if (-not $PSCmdlet.ShouldProcess($New.Domain, "accept the domain as $($New.Type)")) { continue }
      Save-State "accepted $($New.Domain)" @{ Name = "Mailferry $($New.Domain)"; Made = $true }
      $null = New-AcceptedDomain @At -Name "Mailferry $($New.Domain)" -DomainName $New.Domain -DomainType $New.Type
      $Script:Changed += 1
    } catch { Write-Failure $New.Domain $_ }
  }
  foreach ($Domain in $SharedDomains) {
    try {
      $Present = Find-Accepted $Domain
      if ($Present.Count -ne 1) { throw 'is no accepted domain of this organisation' }
      $Type = [string]$Present[0].DomainType
      if ($Type -eq 'InternalRelay') { continue }
      if ($Type -ne 'Authoritative') { throw "is $Type; left alone" }
      if (-not $PSCmdlet.ShouldProcess($Domain, 'Authoritative becomes InternalRelay')) { continue }
      Save-State "accepted $Domain" @{ Name = $Present[0].Name; DomainType = $Type }
      Set-AcceptedDomain @At -Identity $Present[0].Name -DomainType InternalRelay
      $Script:Changed += 1
    } catch { Write-Failure $Domain $_ }
  }
  Write-Output "$($Script:Changed) changed, $($Script:Failed) failed"
} catch { Write-Failure 'prepare' $_ } finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
