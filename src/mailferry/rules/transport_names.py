"""The public mapping of transport rules: each condition and action of Get-TransportRule, where it goes, how well.

Data only. docs/transport-rules.md is made from these tables (`python -m lab.transport_page`); what stands in none of
them is left to a human by name. Source: New-TransportRule (ExchangePowerShell).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mailferry.rules.names import Rating

_E, _A, _M = Rating.EXACT, Rating.APPROXIMATE, Rating.MANUAL


@dataclass(frozen=True, slots=True)
class Row:
    """`sieve`: how it looks there, "" where it does not; `rating`: the best that can be; `note`: the difference, or
    what to do by hand."""

    sieve: str
    rating: Rating
    note: str = ""


_NO_UNPACKING = "archives are not looked into, and a file is told by its name alone"
_BY_DOMAIN = "who is inside is told by the sender's domain, which anybody may write"
_NO_GROUPS = "Sieve knows no groups: name the people, or let Postfix's restrictions do it (mailferry restrict)"

CONDITIONS: Mapping[str, Row] = MappingProxyType(
    {
        "SubjectContainsWords": Row("header :regex, whole words", _E),
        "SubjectMatchesPatterns": Row("header :regex", _E, "of simple patterns; others are left to a human"),
        "SubjectOrBodyContainsWords": Row("anyof (header :regex, body :text :regex)", _A, "tags inside a word hide it"),
        "SubjectOrBodyMatchesPatterns": Row("likewise", _A, "tags inside a word hide it"),
        "HeaderContainsMessageHeader": Row("names the header of HeaderContainsWords", _E),
        "HeaderContainsWords": Row("header :regex, whole words", _E),
        "HeaderMatchesMessageHeader": Row("names the header of HeaderMatchesPatterns", _E),
        "HeaderMatchesPatterns": Row("header :regex", _E, "of simple patterns; others are left to a human"),
        "From": Row('address "from"', _E),
        "FromAddressContainsWords": Row('address :regex "from", whole words', _E),
        "FromAddressMatchesPatterns": Row('address :regex "from"', _E),
        "SenderDomainIs": Row('address :domain "from", subdomains too', _E),
        "FromScope": Row('address :domain "from"', _A, _BY_DOMAIN),
        "SentTo": Row('envelope "to"', _E),
        "SentToScope": Row("true inside; never outside", _E, "mail to others never comes to a store"),
        "RecipientDomainIs": Row('envelope :domain "to"', _E),
        "RecipientAddressContainsWords": Row('envelope :regex "to", whole words', _E),
        "RecipientAddressMatchesPatterns": Row('envelope :regex "to"', _E),
        "AnyOfToHeader": Row('address "to"', _E),
        "AnyOfCcHeader": Row('address "cc"', _E),
        "AnyOfToCcHeader": Row('address ["to", "cc"]', _E),
        "MessageSizeOver": Row("size :over", _A, "the whole message is measured as it travels"),
        "WithImportance": Row('header "importance"', _E),
        "AttachmentNameMatchesPatterns": Row('header :mime :anychild :param "filename" :regex', _A, _NO_UNPACKING),
        "AttachmentExtensionMatchesWords": Row('header :mime :anychild :param "filename" :matches', _A, _NO_UNPACKING),
        "FromMemberOf": Row("", _M, _NO_GROUPS),
        "SentToMemberOf": Row("", _M, _NO_GROUPS),
        "SenderIpRanges": Row("", _M, "with Reject alone it is a table of Postfix; else rspamd can (ip_map)"),
        "SCLOver": Row("", _M, "rspamd rates anew: give it a rule of its own"),
        "HasClassification": Row("", _M, "the open side has no classifications"),
    }
)
ACTIONS: Mapping[str, Row] = MappingProxyType(
    {
        "PrependSubject": Row("deleteheader, addheader", _E, "breaks the sender's signature (DKIM), as in Exchange"),
        "SetHeaderName": Row("deleteheader, addheader", _E, "with SetHeaderValue"),
        "SetHeaderValue": Row("see SetHeaderName", _E),
        "RemoveHeader": Row("deleteheader", _E),
        "SetSCL": Row(
            'fileinto "Junk"', _A, "from 5 on into Junk, whatever a person's filter says; below, tell rspamd"
        ),
        "DeleteMessage": Row("discard", _E),
        "RejectMessageReasonText": Row("reject", _A, "the sender gets a notice after the message was accepted"),
        "RejectMessageEnhancedStatusCode": Row("", _A, "goes with the reason; the code itself is not sent"),
        "RedirectMessageTo": Row("redirect", _A, "once for each recipient here"),
        "BlindCopyTo": Row("redirect :copy", _A, "once for each recipient here; Postfix's bcc tables where they can"),
        "StopRuleProcessing": Row("stop", _E, "of these rules; a person's own filter still runs"),
        "ApplyHtmlDisclaimerText": Row("", _M, "a program that signs outgoing mail (a milter) has to add it"),
        "ModerateMessageByUser": Row("", _M, "the open side has no moderation: restrict who may send instead"),
        "ModerateMessageByManager": Row("", _M, "the open side has no moderation: restrict who may send instead"),
        "Quarantine": Row("", _M, "rspamd or a folder for the administrators has to hold it"),
        "CopyTo": Row("", _M, "visible recipients are not added later: a copy by BlindCopyTo may do"),
        "AddToRecipients": Row("", _M, "visible recipients are not added later: a copy by BlindCopyTo may do"),
        "ApplyClassification": Row("", _M, "the open side has no classifications"),
        "RouteMessageOutboundConnector": Row("", _M, "a line in Postfix's transport_maps"),
        "RouteMessageOutboundRequireTls": Row("", _M, "a line in Postfix's smtp_tls_policy_maps"),
        "GenerateNotification": Row("", _M, "no notices to recipients"),
        "GenerateIncidentReport": Row("", _M, "no reports"),
    }
)
