"""Active Directory is read whole: Acme as it was made, every way in, references, and names that are traps."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from lab.openldap import ADMIN_PASSWORD, OpenLdap
from lab.organisation import organisation
from lab.organisation_data import Organisation, Trouble
from lab.organisation_ldif import distinguished_names
from lab.process import PASSWORD
from lab.samba import Samba
from mailferry.directory.readers import ad_entry, ad_send_as
from mailferry.directory.readers.ad import ActiveDirectory, Scope
from mailferry.errors import AuthError, ConfigError
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap import Bind, Connection, Server
from mailferry.net.ldap_errors import Refused
from mailferry.secret import Secret
from mailferry.sharing.convert import convert_all
from mailferry.wire import dn as names
from mailferry.wire import security
from tests.directories import group_of, ou_of


def server(samba: Samba, user: str = "") -> Server:
    """As the ordinary account that an administrator makes for Mailferry, unless told."""
    return Server(
        samba.tls_url, user=user or samba.reader_dn, secret=Secret(PASSWORD), ca_file=str(samba.ca_file), timeout=20
    )


def read(samba: Samba, *bases: str, filter: str = "") -> tuple[dict[str, Recipient], list[Finding]]:
    """Recipients by DN in lower case, and findings."""
    with ActiveDirectory(server(samba), Scope(bases, filter)) as reader:
        found = list(reader.read())
    recipients = [one for one in found if isinstance(one, Recipient)]
    assert len({one.id for one in recipients}) == len(recipients)
    return {one.where.lower(): one for one in recipients}, [one for one in found if isinstance(one, Finding)]


SELF = "S-1-5-10"


@pytest.fixture
def ou(samba: Samba, new_user: Callable[[], str]) -> str:
    return ou_of(samba, new_user())


@pytest.fixture(scope="module")
def acme() -> Organisation:
    return organisation(50)


@pytest.fixture(scope="module")
def acme_read(samba_acme: Samba) -> tuple[dict[str, Recipient], list[Finding]]:
    return read(samba_acme)


def test_everybody_of_acme_comes_as_what_they_are(
    acme: Organisation, acme_read: tuple[dict[str, Recipient], list[Finding]]
) -> None:
    found, findings = acme_read
    places = distinguished_names(acme)
    system = {dirt.account for dirt in acme.dirt if dirt.trouble is Trouble.SYSTEM_MAILBOX}
    for entry in acme.entries:
        if entry.account in system:
            assert places[entry.account].lower() not in found
            continue
        recipient = found[places[entry.account].lower()]
        assert recipient.kind is entry.kind
        assert (recipient.hidden, recipient.photo) == (
            entry.values.get("msExchHideFromAddressLists") == ("TRUE",),
            entry.values.get("thumbnailPhoto", (None,))[0],
        )
    assert set(RecipientKind) == {one.kind for one in found.values()}
    told = {finding.code for finding in findings}
    assert told >= {"system-mailbox", "primary-differs", "primary-twice", "external-address-kind"}


def test_all_references_of_acme_lead_somewhere(acme_read: tuple[dict[str, Recipient], list[Finding]]) -> None:
    found, _ = acme_read
    ids = {one.id for one in found.values()}
    told = 0
    for one in found.values():
        some = [*one.members, *one.owners, *one.accept_from, *one.reject_from, *one.send_on_behalf, *one.full_access]
        some += [one.manager] if one.manager else []
        some += [one.forwarding.to] if one.forwarding else []
        assert all(reference in ids or reference.startswith("smtp:") for reference in some), one
        told += len(some)
    assert told > 100


def test_the_dynamic_group_of_acme_has_its_members(acme_read: tuple[dict[str, Recipient], list[Finding]]) -> None:
    found, _ = acme_read
    (group,) = (one for one in found.values() if one.kind is RecipientKind.DYNAMIC_GROUP)
    expected = {
        one.id
        for one in found.values()
        if one.details.get("departmentNumber") == ("Sales",) and one.account is not None
    }
    assert expected
    assert set(group.members) == expected
    assert group.member_filter is not None


@pytest.mark.parametrize("way", ["ldaps", "starttls", "kerberos"])
def test_every_way_in_reads_the_same(samba_acme: Samba, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = server(samba_acme)
    if way == "starttls":
        made = dataclasses.replace(made, url=samba_acme.url, user=samba_acme.reader_principal)
    if way == "kerberos":
        for name, value in samba_acme.kerberos().items():
            monkeypatch.setenv(name, value)
        made = Server(samba_acme.url, bind=Bind.KERBEROS, timeout=20)
    with ActiveDirectory(made) as reader:
        assert len(reader.ids()) == 111


def test_kerberos_without_a_ticket_and_over_tls(samba: Samba, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in samba.kerberos().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5CCNAME", "FILE:/nonexistent")
    with pytest.raises(AuthError, match="credentials") as caught:
        Connection(Server(samba.url, bind=Bind.KERBEROS))
    assert "kinit" in caught.value.advice
    with pytest.raises(ConfigError, match="Kerberos over TLS"):
        Connection(Server(samba.tls_url, bind=Bind.KERBEROS, ca_file=str(samba.ca_file)))


def test_nobody_in_particular_reads_nothing(samba: Samba) -> None:
    made = Server(samba.url, bind=Bind.ANONYMOUS, ca_file=str(samba.ca_file))
    with ActiveDirectory(made) as reader, pytest.raises(AuthError, match="without a log-in"):
        list(reader.read())


def test_another_kind_of_server_is_told(openldap: OpenLdap) -> None:
    made = Server(openldap.url, user=openldap.admin_dn, secret=Secret(ADMIN_PASSWORD), ca_file=str(openldap.ca_file))
    with ActiveDirectory(made) as reader, pytest.raises(ConfigError, match="no Active Directory"):
        list(reader.read())


# why a log-in was refused


@pytest.fixture
def lockout(samba: Samba) -> Iterator[None]:
    """Accounts are locked at the second wrong password."""
    samba.modify(samba.base, replace={"lockoutThreshold": "2"})
    yield
    samba.modify(samba.base, replace={"lockoutThreshold": "0"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"userAccountControl": "514"}, "disabled"),
        ({"accountExpires": "1"}, "the account has expired"),
        ({"pwdLastSet": "0"}, "must be changed first"),
    ],
)
def test_why_the_log_in_was_refused(
    samba: Samba, ou: str, new_user: Callable[[], str], change: dict[str, str], reason: str
) -> None:
    dn = samba.add_user(new_user(), parent=ou)
    Connection(server(samba, dn)).close()
    samba.modify(dn, replace=change)
    with pytest.raises(AuthError, match=reason) as caught:
        Connection(server(samba, dn))
    assert caught.value.advice
    assert PASSWORD not in repr(caught.value)


def test_a_locked_account_and_a_wrong_password(
    samba: Samba, ou: str, new_user: Callable[[], str], lockout: None
) -> None:
    dn = samba.add_user(new_user(), parent=ou)
    wrong = dataclasses.replace(server(samba, dn), secret=Secret("wrong"))
    for _ in range(2):
        with pytest.raises(AuthError, match="wrong user name or password"):
            Connection(wrong)
    with pytest.raises(AuthError, match="locked"):
        Connection(server(samba, dn))


# what is read


def test_several_bases_a_filter_and_overlap(samba: Samba, new_user: Callable[[], str]) -> None:
    one, two = ou_of(samba, new_user()), ou_of(samba, new_user())
    first = samba.add_user(new_user(), parent=one, title="Boss")
    second = samba.add_user(new_user(), parent=two, title="Aide")
    assert set(read(samba, one, two)[0]) == {first.lower(), second.lower()}
    assert set(read(samba, one, first, two)[0]) == {first.lower(), second.lower()}
    assert set(read(samba, one, two, filter="title=Aide")[0]) == {second.lower()}
    with pytest.raises(ConfigError, match="not below"):
        read(samba, "DC=elsewhere")
    with pytest.raises(Refused, match="no such entry"):
        read(samba, f"OU=nowhere,{samba.base}")
    with pytest.raises(Refused, match="filter"):
        read(samba, one, filter="(title=")


def test_what_is_no_recipient_is_not_read(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    samba.add(f"CN=pc,{ou}", {"objectClass": "computer", "sAMAccountName": new_user() + "$"})
    samba.add(f"CN=security,{ou}", {"objectClass": "group", "sAMAccountName": new_user()})
    service = f"CN=service,{ou}"
    samba.add(service, {"objectClass": "user", "sAMAccountName": new_user()})
    found, findings = read(samba, ou)
    assert [(one.where, one.kind, one.enabled) for one in found.values()] == [(service, RecipientKind.ACCOUNT, False)]
    assert findings == []


def test_who_is_not_read_is_an_address_or_stays_a_name(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    elsewhere = ou_of(samba, new_user())
    account = new_user()
    outside = samba.add_user(account, parent=elsewhere)
    nobody = f"CN=nobody,{elsewhere}"
    samba.add(nobody, {"objectClass": "group", "sAMAccountName": new_user()})
    inside = samba.add_user(new_user(), parent=ou, manager=outside, altRecipient=outside)
    group = group_of(samba, ou, new_user(), [inside, outside, nobody], authOrig=outside, dLMemSubmitPerms=nobody)
    found, _ = read(samba, ou)
    person, known = found[inside.lower()], f"smtp:{account}@acme.example"
    assert person.manager == known
    assert person.forwarding == Forwarding(known, keep_copy=False)
    assert set(found[group.lower()].members) == {person.id, known, nobody}
    assert found[group.lower()].accept_from == (known, nobody)


def test_groups_in_each_other_and_in_themselves_stay_references(
    samba: Samba, ou: str, new_user: Callable[[], str]
) -> None:
    outer = group_of(samba, ou, new_user())
    inner = group_of(samba, ou, new_user(), [outer])
    samba.modify(outer, add={"member": [inner, outer]})
    found, _ = read(samba, ou)
    ids = {dn: found[dn.lower()].id for dn in (outer, inner)}
    assert set(found[outer.lower()].members) == set(ids.values())
    assert found[inner.lower()].members == (ids[outer],)


def test_a_large_group_comes_in_parts(
    samba: Samba, ou: str, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [samba.add_user(new_user(), parent=ou) for _ in range(5)]
    group = group_of(samba, ou, new_user(), people)
    few = tuple("member;range=0-1" if name == ad_entry.MEMBERS else name for name in ad_entry.ATTRIBUTES)
    monkeypatch.setattr(ad_entry, "ATTRIBUTES", few)
    found, _ = read(samba, ou)
    assert sorted(found[group.lower()].members) == sorted(found[dn.lower()].id for dn in people)


@pytest.mark.parametrize(
    "name", ["a*b", "(x)", "back\\slash", "Lee, Ann", "a+b=c", '"q"', "#x", "<;>", "Ünï 名前", " x ", "o/p"]
)
def test_names_that_mean_something_to_ldap(samba: Samba, ou: str, new_user: Callable[[], str], name: str) -> None:
    dn = f"CN={names.escape(name)},{ou}"
    values = {"objectClass": "user", "sAMAccountName": new_user(), "mail": "x@acme.example", "displayName": name}
    samba.add(dn, values)
    boss = samba.search(f"(sAMAccountName={values['sAMAccountName']})", ["cn"])[0][0]
    aide = samba.add_user(new_user(), parent=ou, manager=boss)
    group = group_of(samba, ou, new_user(), [boss], authOrig=boss)
    found, _ = read(samba, ou)
    recipient = found[boss.lower()]
    assert recipient.name == name
    assert names.parse(recipient.where)[0][0][1].strip() == name.strip()
    assert found[aide.lower()].manager == recipient.id
    assert found[group.lower()].members == found[group.lower()].accept_from == (recipient.id,)


def test_a_megabyte_in_an_attribute(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    dn = samba.add_user(new_user(), parent=ou, extensionAttribute1="é" * (1 << 19))
    found, _ = read(samba, ou)
    assert found[dn.lower()].preferences["extensionAttribute1"] == ("é" * (1 << 19),)


def test_the_quota_of_a_mailbox_or_of_its_database(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    store = samba.add_user(new_user(), parent=ou_of(samba, new_user()), mDBOverHardQuotaLimit="4096")
    default = samba.add_user(new_user(), parent=ou, homeMDB=store, mDBUseDefaults="TRUE", mDBOverHardQuotaLimit="1")
    own = samba.add_user(new_user(), parent=ou, homeMDB=store, mDBUseDefaults="FALSE", mDBOverHardQuotaLimit="100")
    none = samba.add_user(new_user(), parent=ou)
    found, _ = read(samba, ou)
    quotas = [found[dn.lower()].quota for dn in (default, own, none)]
    assert quotas == [4096 * 1024, 100 * 1024, None]


def test_dynamic_groups_are_resolved_or_told(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    boss = samba.add_user(new_user(), parent=ou, title="Boss")
    samba.add_user(new_user(), parent=ou_of(samba, new_user()), title="Boss")
    good, bad = f"CN=good,{ou}", f"CN=bad,{ou}"
    common = {"objectClass": "msExchDynamicDistributionList", "mail": "d@acme.example"}
    samba.add(good, {**common, "msExchDynamicDLFilter": "(title=Boss)", "msExchDynamicDLBaseDN": samba.base})
    samba.add(bad, {**common, "msExchDynamicDLFilter": "((title=Boss)"})
    found, findings = read(samba, ou)
    assert found[good.lower()].members == (found[boss.lower()].id,)
    assert found[bad.lower()].members == ()
    assert [(one.code, one.where) for one in findings] == [("dynamic-group-unresolved", bad)]


def test_a_reading_given_up_leaves_the_reader_usable(samba_acme: Samba) -> None:
    with ActiveDirectory(server(samba_acme)) as reader:
        reading = reader.read()
        next(reading)
        del reading
        began = time.monotonic()
        assert len(reader.ids()) == 111
        assert time.monotonic() - began < 10


def test_who_may_send_as_whom_stands_in_the_access_lists(samba: Samba, ou: str, new_user: Callable[[], str]) -> None:
    """Set by Samba's own tool, read by an ordinary account."""
    team, clerk, shut, gone = (samba.add_user(new_user(), parent=ou) for _ in range(4))
    sids = {
        dn: security.sid(samba.search(f"(distinguishedName={dn})", ["objectSid"])[0][1]["objectSid"][0])
        for dn in (clerk, shut, gone)
    }
    aces = [f"(OA;;CR;{ad_send_as.SEND_AS};;{sids[dn]})" for dn in (clerk, gone)]
    _acl(samba, team, "".join([*aces, f"(OD;;CR;{ad_send_as.SEND_AS};;{sids[shut]})"]))
    samba.delete(gone)
    found, _ = read(samba, ou)
    with Connection(server(samba)) as connection:
        told = ad_send_as.permissions(connection, (ou,))
    who = found[team.lower()].id
    assert {(one.mailbox, one.user, one.denied) for one in told if not one.inherited and one.user != SELF} == {
        (who, found[clerk.lower()].id, False),
        (who, sids[gone], False),
        (who, found[shut.lower()].id, True),
    }
    assert [one.carried for one in convert_all(told)].count(True) == 1, "the clerk alone"


def _acl(samba: Samba, dn: str, sddl: str) -> None:
    login = ["-H", samba.url, f"--simple-bind-dn={samba.admin_dn}", f"--password={PASSWORD}"]
    command = ["samba-tool", "dsacl", "set", *login, "--objectdn", dn, "--sddl", sddl]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
