"""How a directory says what mail has to know: names of attributes, and filters made of them. Two directories are known:
our OpenLDAP, and Active Directory where an organisation keeps that as its only one (docs/route-store.md).

Text only; looks nothing up. Invariant: the same question is asked of both, so every word stands in both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of Active Directory that are Mailferry's own: those of our schema extension, or spare ones that
    nobody else uses. `gate`, `accept`, `reject`: "" where there is no attribute for them, so that nobody checks which
    people may send to somebody; `send_as`: likewise, so that everybody sends as themselves alone."""

    route: str = "mailferryRoute"
    store: str = "mailferryMailHost"
    fresh: str = "mailferryRouteFreshUntil"
    outside: str = "mailferrySendOutside"
    gate: str = "mailferryGate"
    accept: str = "mailferryAcceptUid"
    reject: str = "mailferryRejectUid"
    send_as: str = "mailferrySendAs"


@dataclass(frozen=True, slots=True)
class Words:
    """Attributes: `uid`, `route`, `store`, `fresh`, `kind`, `id` (that everybody has), `external`, `outside`, `gate`,
    `accept`, `reject` (log-in names), `senders` (of who may send as somebody), `send_as` (those whom we let), `own_dn`,
    `outside_members`, `quota` ("": it says none), `principal`. `user`: the uid as a variable of Dovecot. `addresses`
    holds every address, after `prefix`.

    Filters: `recipient` (anybody that mail can be for), `deliverable` (whoever ends up at a transport), `routed` (has a
    mailbox), `exchange`, `local`, `not_exchange` (by route), `group`, `enabled`, `inside_only` (takes mail from inside
    alone), `names_people` (says who may send to it), `names_some` (only those may).

    `on_exchange`, `nobody`: kinds that go to Exchange without a route, and to nobody. `ad`: Active Directory, where
    forwarding stands as Exchange writes it, and somebody with a mailbox and no route is on Exchange, so that nothing is
    written for who has not moved.
    """

    uid: str
    user: str
    addresses: str
    route: str
    store: str
    fresh: str
    kind: str
    id: str
    external: str
    outside: str
    gate: str
    accept: str
    reject: str
    senders: str
    send_as: str
    own_dn: str
    outside_members: str
    quota: str
    principal: str
    recipient: str
    deliverable: str
    routed: str
    exchange: str
    local: str
    not_exchange: str
    group: str
    enabled: str
    inside_only: str
    names_people: str
    names_some: str
    on_exchange: tuple[str, ...]
    nobody: tuple[str, ...]
    prefix: str = ""
    ad: bool = False

    def address(self, value: str) -> str:
        """The filter for whoever has an address; `value`: escaped, or `%s`."""
        return f"({self.addresses}={self.prefix}{value})"

    def fill(self, text: str) -> str:
        """A text with each `<word>` of it said in this directory's way. AttributeError: there is no such word."""
        return re.sub(r"<(\w+)>", lambda found: str(getattr(self, found[1])), text)


def openldap(addresses: str = "mailLocalAddress") -> Words:
    """Our own directory. `addresses`: the attribute with every address, by the mail schema."""
    return Words(
        uid="uid",
        user="%{ldap:uid}",
        addresses=addresses,
        route="mailferryRoute",
        store="mailHost",
        fresh="mailferryRouteFreshUntil",
        kind="mailferryKind",
        id="mailferrySourceId",
        external="mailferryExternalAddress",
        outside="mailferrySendOutside",
        gate="mailferryGate",
        accept="mailferryAcceptUid",
        reject="mailferryRejectUid",
        senders="uid, mailferrySender, mailferrySendAs",
        send_as="mailferrySendAs",
        own_dn="entryDN",
        outside_members="mailferryExternalMember",
        quota="mailferryQuota",
        principal="mailferryPrincipal",
        recipient="",
        deliverable="",
        routed="(mailferryRoute=*)",
        exchange="(mailferryRoute=exchange)",
        local="(mailferryRoute=local)",
        not_exchange="(|(mailferryRoute=local)(mailferryRoute=parked))",
        group="(objectClass=mailferryGroup)",
        enabled="(!(mailferryEnabled=FALSE))",
        inside_only="(|(mailferryInternalOnly=TRUE)(&(mailferryAcceptFrom=*)(!(mailferryAcceptFromAddress=*))))",
        names_people="(|(mailferryAcceptFrom=*)(mailferryRejectFrom=*))",
        names_some="(|(mailferryAcceptFrom=*)(mailferryAcceptFromAddress=*))",
        on_exchange=("public-folder",),
        nobody=("group", "dynamic-group"),
    )


def active_directory(own: Attributes = Attributes()) -> Words:
    """Active Directory with Exchange's attributes. An account's name is its uid; groups too large for one answer, and
    dynamic ones, are Exchange's to expand."""
    box = "(|(msExchMailboxGuid=*)(homeMDB=*))"
    group, lists = "(objectClass=group)", "(objectClass=publicFolder)(objectClass=msExchDynamicDistributionList)"
    routed = f"(|({own.route}=*)(msExchMailboxGuid=*)(homeMDB=*))"
    return Words(
        uid="sAMAccountName",
        user="%L{ldap:sAMAccountName}",
        addresses="proxyAddresses",
        route=own.route,
        store=own.store,
        fresh=own.fresh,
        kind="objectClass",
        id="cn",
        external="targetAddress",
        outside=own.outside,
        gate=own.gate,
        accept=own.accept,
        reject=own.reject,
        senders=", ".join(filter(None, ("sAMAccountName", own.send_as))),
        send_as=own.send_as,
        own_dn="distinguishedName",
        outside_members="mailferryNothing",
        quota="",
        principal="userPrincipalName",
        recipient=f"(|{routed}(targetAddress=*){group}{lists})",
        deliverable=f"(|{routed}{group}{lists})",
        routed=routed,
        exchange=f"(|({own.route}=exchange)(&(!({own.route}=*)){box}))",
        local=f"({own.route}=local)",
        not_exchange=f"(|({own.route}=local)({own.route}=parked))",
        group=group,
        enabled="(!(userAccountControl:1.2.840.113556.1.4.803:=2))",
        inside_only="(|(msExchRequireAuthToSendTo=TRUE)(authOrig=*)(dLMemSubmitPerms=*))",
        names_people="(|(authOrig=*)(unauthOrig=*)(dLMemSubmitPerms=*)(dLMemRejectPerms=*))",
        names_some="(|(authOrig=*)(dLMemSubmitPerms=*))",
        on_exchange=("user", "publicFolder", "msExchDynamicDistributionList"),
        nobody=(),
        prefix="smtp:",
        ad=True,
    )


OPENLDAP = openldap()
