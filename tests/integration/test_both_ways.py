"""People of the open side become mail users in Active Directory by LDIF, and are no strangers to the next sync."""

from __future__ import annotations

import html
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import ldap
import pytest

from lab.openldap import OpenLdap
from lab.process import PASSWORD, binary
from lab.samba import Samba
from mailferry.directory.readers.ad import ActiveDirectory, Scope
from mailferry.errors import ConfigError, UserError
from mailferry.model.recipient import Finding, Recipient
from mailferry.net.ldap import Server
from mailferry.ops import exchange_script
from mailferry.secret import Secret
from tests.directories import Pair, group_of, ou_of

NASTY = 'O\u2019Brien $(Stop-Computer) `n "Ünï", 山田\u202e'


@pytest.fixture(scope="module")
def exchange(samba: Samba) -> Samba:
    """Samba with the attribute that says whether somebody gets Outlook's own format."""
    schema = f"CN=Schema,CN=Configuration,{samba.base}"
    if not samba.admin.search_s(schema, ldap.SCOPE_ONELEVEL, "(lDAPDisplayName=mAPIRecipient)"):
        samba.add(
            f"CN=mAPIRecipient,{schema}",
            {
                "objectClass": "attributeSchema",
                "lDAPDisplayName": "mAPIRecipient",
                "attributeID": "1.2.840.113556.1.2.371",
                "attributeSyntax": "2.5.5.8",
                "oMSyntax": "1",
                "isSingleValued": "TRUE",
            },
        )
        reload = [(ldap.MOD_REPLACE, "schemaUpdateNow", [b"1"])]
        samba.admin.modify_s("", reload)
        samba.modify(f"CN=Mail-Recipient,{schema}", add={"mayContain": "mAPIRecipient"})
        samba.admin.modify_s("", reload)
    return samba


@pytest.fixture
def pair(exchange: Samba, own_openldap: OpenLdap, new_user: Callable[[], str], tmp_path: Path) -> Iterator[Pair]:
    made = Pair(exchange, own_openldap, ou_of(exchange, new_user()), tmp_path)
    made.configure(
        f"""
        [directory.exchange]
        routing_domain = "open.acme.example"
        container = "{made.ou}"
        """
    )
    yield made


def born(pair: Pair, uid: str, **more: str) -> str:
    """Somebody of the open side."""
    link = pair.target.connect()
    dn = f"uid={uid},ou=people,{pair.target.suffix}"
    if not link.search_s(pair.target.suffix, ldap.SCOPE_ONELEVEL, "(ou=people)"):
        link.add_s(f"ou=people,{pair.target.suffix}", [("objectClass", [b"organizationalUnit"]), ("ou", [b"people"])])
    values = {
        "objectClass": ["inetOrgPerson", "inetLocalMailRecipient"],
        "uid": [uid],
        "cn": [uid],
        "sn": [uid],
        "mail": [f"{uid}@acme.example"],
        "mailLocalAddress": [f"{uid}@acme.example", f"{uid}.alias@acme.example"],
        **{name: [value] for name, value in more.items()},
    }
    link.add_s(dn, [(name, [value.encode() for value in found]) for name, found in values.items()])
    link.unbind_s()
    return dn


def script(pair: Pair, out: str = "out", form: str = "ldif") -> exchange_script.Written:
    with pair.place() as place:
        return exchange_script.write(place, form, pair.folder / out, lambda *_: None)


def apply(pair: Pair, name: str, out: str = "out") -> subprocess.CompletedProcess[str]:
    """As an administrator would."""
    command = [binary("ldapmodify"), "-x", "-H", pair.ad.url, "-D", pair.ad.admin_dn, "-w", PASSWORD]
    path = str(pair.folder / out / name)
    return subprocess.run([*command, "-f", path], capture_output=True, text=True, check=False)


def read(pair: Pair) -> list[Recipient | Finding]:
    server = Server(
        pair.ad.tls_url, user=pair.ad.reader_principal, secret=Secret(PASSWORD), ca_file=str(pair.ad.ca_file)
    )
    with ActiveDirectory(server, Scope((pair.ou,))) as reader:
        return list(reader.read())


def snapshot(pair: Pair) -> list[tuple[str, dict[str, set[bytes]]]]:
    """All entries of the OU, without what the server counts by itself."""
    own = {"whenChanged", "uSNChanged", "whenCreated", "uSNCreated", "dSCorePropagationData"}
    found = pair.ad.admin.search_s(pair.ou, ldap.SCOPE_SUBTREE)
    return sorted((dn, {key: set(some) for key, some in values.items() if key not in own}) for dn, values in found)


def test_ldif_makes_mail_users_and_takes_them_back(pair: Pair, new_user: Callable[[], str]) -> None:
    old, alice, bob, carol = (new_user() for _ in range(4))
    pair.ad.add_user(old, parent=pair.ou)
    account = {"objectClass": "user", "sAMAccountName": carol, "givenName": "Carol", "sn": "Klein"}
    carol_dn = f"CN={carol},{pair.ou}"
    pair.ad.add(carol_dn, {**account, "userAccountControl": "514"})
    pair.sync()
    born(pair, alice, displayName=NASTY, givenName="Alice", title="Chef", departmentNumber="Küche")
    born(pair, bob, displayName="Bob")
    born(pair, carol, givenName="Carol", sn="Klein")
    before = snapshot(pair)

    written = script(pair)
    assert {one.how.value for one in written.plan.users} == {"new", "enable"}
    page = html.unescape(written.files[0].read_text())
    assert all(uid in page for uid in (alice, bob, carol)) and old not in page
    done = apply(pair, "people.ldif")
    assert done.returncode == 0, done.stderr

    found = read(pair)
    ours = [one for one in found if isinstance(one, Finding) and one.code == "mail-user-of-ours"]
    assert len(ours) == 3
    assert {one.account for one in found if isinstance(one, Recipient)} == {old}
    values = dict(snapshot(pair))
    (made,) = [one for one in values.values() if one.get("sAMAccountName") == {alice.encode()}]
    assert made["targetAddress"] == {f"SMTP:{alice}@open.acme.example".encode()}
    assert made["proxyAddresses"] == {
        f"SMTP:{alice}@acme.example".encode(),
        f"smtp:{alice}.alias@acme.example".encode(),
    }
    assert made["displayName"] == {NASTY.removesuffix("\u202e").encode()}
    assert made["mAPIRecipient"] == {b"FALSE"}
    assert int(*made["userAccountControl"]) & 2, "nobody logs in with it"

    _, step = pair.sync()
    assert not step.diff.changes, "they are not brought back"
    made_dn = next(dn for dn, one in values.items() if one is made)
    group = group_of(pair.ad, pair.ou, f"Mixed {old}", [made_dn, f"CN={old},{pair.ou}"])
    pair.sync()
    mixed = pair.entry(f"cn=Mixed {old},ou=groups")
    assert mixed["mailferryExternalMember"] == {f"{alice}@acme.example".encode()}, "a member by the address"
    pair.ad.delete(group)
    with pytest.raises(UserError, match="undo"):
        script(pair)
    again = script(pair, "again")
    assert (again.plan.users, again.plan.same) == ([], 3)

    done = apply(pair, "people-undo.ldif")
    assert done.returncode == 0, done.stderr
    assert snapshot(pair) == before


def test_a_change_is_brought_and_taken_back(pair: Pair, new_user: Callable[[], str]) -> None:
    pair.ad.add_user(new_user(), parent=pair.ou)
    uid = new_user()
    dn = born(pair, uid, displayName="Before")
    script(pair)
    assert apply(pair, "people.ldif").returncode == 0
    (made,) = [one for one, values in snapshot(pair) if values.get("sAMAccountName") == {uid.encode()}]
    pair.ad.modify(made, add={"proxyAddresses": "x500:/o=Acme/cn=kept"})
    before = snapshot(pair)
    link = pair.target.connect()
    link.modify_s(dn, [(ldap.MOD_REPLACE, "displayName", [b"After"]), (ldap.MOD_ADD, "title", [b"Chef"])])
    link.modify_s(dn, [(ldap.MOD_REPLACE, "mailLocalAddress", [f"{uid}@acme.example".encode()])])

    written = script(pair, "second")
    assert [(one.how.value, one.why) for one in written.plan.users] == [
        ("update", "differs: proxyAddresses, displayName, title")
    ]
    done = apply(pair, "people.ldif", "second")
    assert done.returncode == 0, done.stderr
    after = dict(snapshot(pair))[made]
    assert (after["displayName"], after["title"]) == ({b"After"}, {b"Chef"})
    assert after["proxyAddresses"] == {f"SMTP:{uid}@acme.example".encode(), b"x500:/o=Acme/cn=kept"}
    assert script(pair, "third").plan.same == 1
    done = apply(pair, "people-undo.ldif", "second")
    assert done.returncode == 0, done.stderr
    assert snapshot(pair) == before
    link.delete_s(dn)
    (gone,) = script(pair, "fourth").plan.findings
    assert (gone.code, gone.where) == ("person-gone", made)
    link.unbind_s()


def test_undo_leaves_others_alone_and_can_be_refused(pair: Pair, new_user: Callable[[], str]) -> None:
    pair.ad.add_user(new_user(), parent=pair.ou)
    uid = new_user()
    born(pair, uid)
    script(pair)
    assert apply(pair, "people.ldif").returncode == 0
    (made,) = [dn for dn, values in snapshot(pair) if values.get("sAMAccountName") == {uid.encode()}]
    pair.ad.modify(made, replace={"extensionAttribute15": "somebody else's by now"})
    before = snapshot(pair)
    refused = apply(pair, "people-undo.ldif")
    assert refused.returncode != 0
    assert snapshot(pair) == before
    pair.ad.delete(made)


def test_what_exchange_has_is_not_taken(pair: Pair, new_user: Callable[[], str]) -> None:
    first, second, third = (new_user() for _ in range(3))
    pair.ad.add_user(
        first, parent=pair.ou, proxyAddresses=[f"SMTP:{first}@acme.example", f"smtp:{second}@acme.example"]
    )
    pair.ad.add(
        f"CN={third},{pair.ou}", {"objectClass": "group", "sAMAccountName": third}
    )  # no recipient, a name taken
    born(pair, second)
    born(pair, third)
    done = pair.cli("exchange-script", "--format", "ldif", "--out", str(pair.folder / "out"))
    assert done.returncode == 1
    assert f"{second}@acme.example is an address of {first}" in done.stderr
    assert f"the account name '{third}' is taken" in done.stderr
    assert not (pair.folder / "out" / "people.ldif").exists()
    assert f"{second}@acme.example" in (pair.folder / "out" / "review.html").read_text()


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("", "routing_domain"),
        ("routing_domain = 'open.acme.example'", "container"),
        ("routing_domain = 'open.acme.example'\ncontainer = 'OU=Nowhere,DC=acme,DC=example'", "OU=Nowhere"),
    ],
)
def test_settings_that_are_missing_are_named(pair: Pair, extra: str, names: str) -> None:
    pair.configure(f"[directory.exchange]\n{extra}")
    with pytest.raises(ConfigError) as error:
        script(pair)
    assert names in error.value.about
