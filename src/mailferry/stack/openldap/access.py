"""Who may read and write what: the access rules and limits of the main database, first match wins (slapd.access(5)).

Text only. Invariant: passwords are never readable but by replicas; nobody below the service accounts sees hidden
people; the address book is closed to anonymous readers unless the settings open it.
"""

from __future__ import annotations

from mailferry.stack.openldap.settings import POLICIES, SERVICES, Readers, Settings


def rules(settings: Settings) -> list[str]:
    """Values of olcAccess, in order."""
    writer, replicator = f'dn.exact="{settings.writer_dn}"', f'dn.exact="{settings.replicator_dn}"'
    lookup = f'dn.exact="{settings.lookup_dn}"'
    readers = "*" if settings.readers is Readers.ANONYMOUS else "users"
    attributes = ",".join(("entry", *settings.address_book))
    return [
        f"to attrs=userPassword by {replicator} read by {writer} =w by self =xw by anonymous auth by * none",
        f"to attrs=pwdHistory by {replicator} read by * none",
        f'to dn.subtree="{settings.branch(SERVICES)}" by {replicator} read by {lookup} read by {writer} read by * none',
        f'to dn.subtree="{settings.branch(POLICIES)}" by {replicator} read by * none',
        f"to * by {writer} write by {replicator} read by {lookup} read by * break",
        "to filter=(mailferryHidden=TRUE) by self read by * none",
        f'to dn.subtree="{settings.suffix}" attrs={attributes} by {readers} read by * none',
        "to * by self read by * none",
    ]


def limits(settings: Settings) -> list[str]:
    """Values of olcLimits: our own accounts are not limited, people who search the address book are."""
    soft, hard = settings.rows
    own = [
        f'dn.exact="{dn}" size=unlimited time=unlimited'
        for dn in (settings.writer_dn, settings.replicator_dn, settings.lookup_dn)
    ]
    return [*own, f"* size.soft={soft} size.hard={hard} time.soft=10 time.hard=60"]
