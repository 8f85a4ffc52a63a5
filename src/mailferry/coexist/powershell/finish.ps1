[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
  # All commands go to this domain controller, so that none has to wait for replication.
  [Parameter(Mandatory = $true)] [string] $DomainController
)
#{data}
#{common}
Import-Module ActiveDirectory
Write-Warning 'This ends the mailboxes of these people in Exchange. Their contents stay in the database for as long as'
Write-Warning 'its MailboxRetention says (mostly 30 days), and are then gone. There is no sweep and no rollback after it.'

$Kept = @('Alias', 'DisplayName', 'HiddenFromAddressListsEnabled', 'EmailAddressPolicyEnabled', 'SimpleDisplayName') +
  @(1..15 | ForEach-Object { "CustomAttribute$_" })

try {
  foreach ($Person in $People) {
    try {
      $Kind = [string](Get-User @At -Identity $Person.Guid).RecipientType
      $Known = (Read-State).ContainsKey($Person.Guid)
      if ($Kind -eq 'MailUser' -and (-not $Known -or (Read-State).ContainsKey("done $($Person.Guid)"))) { continue }
      if ($Kind -eq 'User' -and -not $Known) { throw 'has no mailbox; left alone' }
      if ($Kind -notin @('UserMailbox', 'MailUser', 'User')) { throw "is a $Kind; left alone" }
      if ($Kind -eq 'UserMailbox') {
        $Mailbox = Get-Mailbox @At -Identity $Person.Guid
        $Object = Get-ADObject -Server $DomainController -Identity $Person.Guid -Properties *
        $Target = [string]$Object['targetAddress'].Value
        $Forward = 'smtp:' + (([string]$Mailbox.ForwardingSmtpAddress) -replace '^smtp:', '')
        if ($Target -ne $Person.To -and $Forward -ne $Person.To) { throw "its mail still goes into the mailbox" }
        if ($Mailbox.LitigationHoldEnabled -or $Mailbox.InPlaceHolds.Count -gt 0) { throw 'is on hold; left alone' }
        if ($Mailbox.ArchiveGuid -ne [Guid]::Empty) { throw 'has an archive mailbox; left alone' }
        if (-not $PSCmdlet.ShouldProcess($Person.Mail, 'end the mailbox, and make it a mail user')) { continue }
        $Before = @{
          ExchangeGuid = $Mailbox.ExchangeGuid.ToString()
          Database = $Mailbox.Database.ToString()
          LegacyExchangeDN = [string]$Mailbox.LegacyExchangeDN
          EmailAddresses = @($Mailbox.EmailAddresses | ForEach-Object { $_.ToString() })
          TargetAddress = $Target
          GrantSendOnBehalfTo = @($Mailbox.GrantSendOnBehalfTo | ForEach-Object { $_.ToString() })
          Values = @{}
          Attributes = @{}
        }
        foreach ($Name in $Kept) { $Before.Values[$Name] = $Mailbox.$Name }
        # Disable-Mailbox takes every attribute of Exchange: all of them are noted, for whoever misses one.
        foreach ($Name in $Object.PropertyNames) {
          if ($Name -match '^(msExch|mDB|extensionA|authOrig|unauthOrig|dLMem|publicDelegates|altRecip)') {
            $Before.Attributes[$Name] = @($Object[$Name] | ForEach-Object { [string]$_ })
          }
        }
        Save-State $Person.Guid $Before
        Disable-Mailbox @At -Identity $Person.Guid -Confirm:$false
      } elseif (-not $PSCmdlet.ShouldProcess($Person.Mail, 'complete the mail user')) { continue }
      $Before = (Read-State)[$Person.Guid]
      if ($Kind -ne 'MailUser') {
        $null = Enable-MailUser @At -Identity $Person.Guid -ExternalEmailAddress $Person.To -Alias $Before.Values.Alias
      }
      $Values = @{}
      foreach ($Name in $Kept) {
        if ($Name -eq 'EmailAddressPolicyEnabled' -or [string]$Before.Values.$Name -eq '') { continue }
        $Values[$Name] = $Before.Values.$Name
      }
      Set-MailUser @At -Identity $Person.Guid -EmailAddressPolicyEnabled $false -UseMapiRichTextFormat Never @Values
      $Own = "X500:$($Before.LegacyExchangeDN)"
      $Addresses = @($Before.EmailAddresses) + @($Own | Where-Object { $Before.EmailAddresses -notcontains $_ })
      Set-MailUser @At -Identity $Person.Guid -EmailAddresses $Addresses
      Set-MailUser @At -Identity $Person.Guid -ExternalEmailAddress $Person.To
      if ($Before.GrantSendOnBehalfTo.Count -gt 0) {
        Set-MailUser @At -Identity $Person.Guid -GrantSendOnBehalfTo $Before.GrantSendOnBehalfTo
      }
      Save-State "done $($Person.Guid)" $true
      $Script:Changed += 1
    } catch { Write-Failure $Person.Mail $_ }
  }
  Write-Output "$($Script:Changed) of $($People.Count) changed, $($Script:Failed) failed"
} finally { $null = Stop-Transcript }
if ($Script:Failed -gt 0) { exit 1 }
