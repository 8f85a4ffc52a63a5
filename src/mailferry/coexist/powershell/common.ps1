Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$At = @{ DomainController = $DomainController }
$Script:Failed = 0
$Script:Changed = 0

# What was there before, by the id of each person or object. An entry is never overwritten, so that a second run keeps
# what the first one found; the undo takes it away once it is restored.
$StateFile = Join-Path $PSScriptRoot ($Step + '-before.json')

function Read-State {
  $State = @{}
  if (Test-Path -LiteralPath $StateFile) {
    $Read = Get-Content -LiteralPath $StateFile -Raw -Encoding UTF8 | ConvertFrom-Json
    foreach ($Property in $Read.PSObject.Properties) { $State[$Property.Name] = $Property.Value }
  }
  return $State
}

function Write-State($State) {
  ConvertTo-Json -InputObject $State -Depth 8 | Set-Content -LiteralPath "$StateFile.new" -Encoding UTF8 -WhatIf:$false
  Move-Item -LiteralPath "$StateFile.new" -Destination $StateFile -Force -WhatIf:$false
}

function Save-State($Key, $Value) {
  $State = Read-State
  if ($State.ContainsKey($Key)) { return }
  $State[$Key] = $Value
  Write-State $State
}

function Remove-State($Key) {
  $State = Read-State
  $State.Remove($Key)
  Write-State $State
}

function Write-Failure($Name, $Reason) {
  $Script:Failed += 1
  Write-Warning ('{0}: {1}' -f $Name, $Reason)
}

$Log = Join-Path $PSScriptRoot ('{0}-{1:yyyyMMdd-HHmmss}.log' -f $MyName, (Get-Date))
$null = Start-Transcript -LiteralPath $Log -WhatIf:$false
