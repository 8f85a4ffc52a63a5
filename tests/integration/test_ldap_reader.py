"""Any LDAP server as a source: a university on qmail-ldap's schema, read whole and by its changes, from slapd."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator

import pytest

from lab.openldap import ADMIN_PASSWORD, OpenLdap
from mailferry.directory.readers.ldap import LdapDirectory
from mailferry.directory.readers.ldap_map import Names
from mailferry.errors import ConfigError, Temporary
from mailferry.model.recipient import Finding, Forwarding, Recipient, RecipientKind
from mailferry.net.ldap import Bind, Change, Connection, Server
from mailferry.net.ldap_entry import Entry
from mailferry.net.ldap_errors import Refused, Result
from mailferry.secret import Secret
from mailferry.stack.openldap.settings import MailSchema
from mailferry.wire import dn as names

Values = str | bytes | list[str]


@pytest.fixture(scope="module")
def university() -> Iterator[OpenLdap]:
    with OpenLdap(mail_schema=MailSchema.QMAIL) as server:
        yield server


def server_of(openldap: OpenLdap) -> Server:
    secret = Secret(ADMIN_PASSWORD)
    return Server(openldap.url, user=openldap.admin_dn, secret=secret, ca_file=str(openldap.ca_file), timeout=20)


@dataclasses.dataclass
class Campus:
    """A branch of one test, and a reader of it."""

    server: OpenLdap
    connection: Connection
    base: str
    reader: LdapDirectory

    def add(self, rdn: str, classes: str, **values: Values) -> str:
        dn = f"{rdn},{self.base}"
        record: dict[str, list[bytes]] = {"objectClass": [name.encode() for name in classes.split()]}
        for name, value in values.items():
            many = value if isinstance(value, list) else [value]
            record[name] = [one if isinstance(one, bytes) else one.encode() for one in many]
        self.connection.add(dn, record)
        return dn

    def person(self, uid: str, **values: Values) -> str:
        mail = f"{uid}@uni.example"
        given: dict[str, Values] = {"cn": uid, "sn": uid, "mail": mail, "mailHost": "store1.uni.example"}
        return self.add(f"uid={uid}", "inetOrgPerson qmailUser", **(given | values))

    def read(self) -> tuple[dict[str, Recipient], list[Finding]]:
        found = list(self.reader.read())
        recipients = [one for one in found if isinstance(one, Recipient)]
        return {one.where: one for one in recipients}, [one for one in found if isinstance(one, Finding)]


@pytest.fixture
def campus(university: OpenLdap, new_user: Callable[[], str]) -> Iterator[Campus]:
    base = f"ou={new_user()},{university.suffix}"
    with Connection(server_of(university)) as connection, LdapDirectory(server_of(university), (base,)) as reader:
        connection.add(base, {"objectClass": [b"organizationalUnit"]})
        yield Campus(university, connection, base, reader)


def test_people_of_a_university(campus: Campus, new_user: Callable[[], str]) -> None:
    account = new_user()
    boss = campus.person(new_user())
    dn = campus.person(
        account,
        displayName="Ann Lee",
        mailAlternateAddress=[f"{account}.lee@uni.example"],
        mailForwardingAddress="ann@home.example",
        mailReplyText="Back on Monday.\r\nAnn",
        deliveryMode="nolocal",
        mailQuotaSize="1000000",
        accountStatus="disabled",
        manager=boss,
        jpegPhoto=b"\xff\xd8\xff" + bytes(1 << 20),
        departmentNumber="7",
        userPassword="secret",
    )
    found, findings = campus.read()
    assert findings == []
    ann = found[dn]
    assert ann.kind is RecipientKind.MAILBOX
    assert ann.id == "ldap:" + campus.connection.read(dn, ("entryUUID",)).text("entryUUID")  # type: ignore[union-attr,operator]
    assert (ann.name, ann.account, ann.mail_host) == ("Ann Lee", account, "store1.uni.example")
    assert (ann.mail, ann.aliases) == (f"{account}@uni.example", (f"{account}.lee@uni.example",))
    assert ann.forwarding == Forwarding("smtp:ann@home.example", keep_copy=False)
    assert ann.preferences["mailReplyText"] == ("Back on Monday.\r\nAnn",)
    assert (ann.quota, ann.enabled, ann.manager) == (1000000, False, found[boss].id)
    assert ann.photo is not None
    assert len(ann.photo) == (1 << 20) + 3
    assert ann.details["departmentNumber"] == ("7",)
    assert "secret" not in repr(ann)


def test_groups_by_name_by_address_and_by_filter(campus: Campus, new_user: Callable[[], str]) -> None:
    one, two = (campus.person(new_user(), title="Professor") for _ in range(2))
    outside = f"cn=nobody,{campus.server.suffix}"
    plain = campus.add("cn=plain", "groupOfNames", member=[one, two.upper().replace(",", ", "), outside])
    mixed = campus.add("cn=mixed", "groupOfUniqueNames", uniqueMember=[f"{one}#'0101'B"])
    found, findings = campus.read()
    assert found[plain].kind is RecipientKind.GROUP
    assert found[plain].members == (found[one].id, found[two].id, outside)
    assert found[mixed].members == (found[one].id,)
    assert findings == []


@pytest.mark.parametrize("name", ["a*b", "(x)", "back\\slash", "Lee, Ann", "a+b=c", '"q"', "nu\x00l", " x ", "ü名"])
def test_names_that_mean_something_to_ldap(campus: Campus, new_user: Callable[[], str], name: str) -> None:
    dn = campus.add(f"cn={names.escape(name)}", "inetOrgPerson", sn="x", mail=f"{new_user()}@uni.example")
    group = campus.add("cn=g", "groupOfNames", member=dn)
    found, _ = campus.read()
    assert len(found) == 2
    (recipient,) = (one for one in found.values() if one.kind is RecipientKind.CONTACT)
    assert recipient.name.strip() == name.strip()
    assert found[group].members == (recipient.id,)


def test_an_own_map_of_attributes(campus: Campus, new_user: Callable[[], str]) -> None:
    campus.person(new_user(), employeeNumber="17", title="signature text")
    ours = Names(id=("employeeNumber",), carried=("title",))
    with LdapDirectory(server_of(campus.server), (campus.base,), names=ours) as reader:
        (found,) = reader.read()
        assert isinstance(found, Recipient)
        assert found.id == "ldap:17"
        assert found.preferences == {"title": ("signature text",)}
        assert reader.cookie().startswith(b"time ")  # content synchronisation tells deletions by entryUUID only


def test_part_of_the_directory_on_another_server(campus: Campus, new_user: Callable[[], str]) -> None:
    campus.person(new_user())
    campus.add("ou=elsewhere", "referral extensibleObject", ou="elsewhere", ref="ldap://other.example/dc=x")
    found, findings = campus.read()
    assert len(found) == 1
    assert [one.code for one in findings] == ["referral-not-followed"]
    assert "other.example" in findings[0].value


def test_a_size_limit_ends_the_reading(campus: Campus, own_openldap: OpenLdap) -> None:
    with Connection(Server(own_openldap.ldapi, bind=Bind.EXTERNAL, timeout=10)) as manager:
        limit = Change("replace", "olcLimits", (b"* size.soft=1 size.hard=1",))
        manager.modify("olcDatabase={1}mdb,cn=config", [limit])
    settings = own_openldap.settings
    lookup = Server(own_openldap.url, user=settings.lookup_dn, secret=settings.lookup, plain=True)
    with LdapDirectory(lookup, filter="(objectClass=*)") as reader, pytest.raises(Refused) as caught:
        list(reader.read())
    assert caught.value.result == Result.SIZE_LIMIT


def test_the_only_naming_context_is_found(
    campus: Campus, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dn = campus.person(new_user())
    with LdapDirectory(server_of(campus.server)) as reader:
        assert dn in {one.where for one in reader.read() if isinstance(one, Recipient)}
    several = Entry("", {"namingcontexts": (b"dc=one", b"dc=two")})
    monkeypatch.setattr(Connection, "root", lambda _: several)
    with LdapDirectory(server_of(campus.server)) as reader, pytest.raises(ConfigError, match="2 naming contexts"):
        list(reader.read())


def changed(changes: object) -> list[str]:
    return [one.where for one in changes.changed]  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["sync", "time"])
def test_everything_that_happens_to_a_person(
    campus: Campus, new_user: Callable[[], str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "time":

        def refused(*_: object) -> None:
            raise Refused("no such control", result=Result.UNAVAILABLE_CRITICAL_EXTENSION)

        monkeypatch.setattr("mailferry.directory.readers.ldap.refresh", refused)
    reader, connection = campus.reader, campus.connection
    kept = campus.person(new_user())
    cookie = reader.cookie()
    assert cookie.startswith(way.encode())
    first, _ = campus.read()
    dn = campus.person(new_user())
    changes = reader.changes(cookie)
    assert dn in changed(changes)
    connection.modify(dn, [Change("replace", "title", (b"Dr",)), Change("replace", "manager", (kept.encode(),))])
    changes = reader.changes(changes.cookie)
    (found,) = (one for one in changes.changed if isinstance(one, Recipient) and one.where == dn)
    assert (found.details["title"], found.manager) == (("Dr",), first[kept].id)
    account = new_user()
    connection.rename(dn, f"uid={account}")
    dn = f"uid={account},{campus.base}"
    changes = reader.changes(changes.cookie)
    (renamed,) = (one for one in changes.changed if isinstance(one, Recipient) and one.where == dn)
    assert renamed.id == found.id
    group = campus.add("cn=g", "groupOfNames", member=dn)
    changes = reader.changes(changes.cookie)
    (new,) = (one for one in changes.changed if isinstance(one, Recipient) and one.where == group)
    assert new.members == (found.id,)
    assert reader.ids() == {first[kept].id, found.id, new.id}
    connection.delete(group)
    connection.delete(dn)
    if way == "sync":
        changes = reader.changes(changes.cookie)
        assert set(changes.gone) == {found.id, new.id}
        assert changes.changed == ()
    assert reader.ids() == {first[kept].id}


@pytest.mark.parametrize(
    "text", ["", "rid=000,", "rid=000,csn=x;y", "rid=000,csn=20990101000000.000000Z#000000#001#000000"]
)
def test_a_cookie_that_makes_no_sense_hides_nothing(campus: Campus, new_user: Callable[[], str], text: str) -> None:
    dn = campus.person(new_user())
    head = campus.reader.cookie().partition(b"\n")[0]
    changes = campus.reader.changes(head + b"\n" + json.dumps([text.encode().hex()]).encode())
    assert changes.full_read or changed(changes) == [dn]
    if changes.full_read:
        assert (changes.changed, changes.gone, changes.cookie) == ((), (), b"")
    assert "another" in campus.reader.changes(b"garbage").full_read


def test_a_server_that_starts_anew_tells_who_is_left(new_user: Callable[[], str]) -> None:
    with OpenLdap(mail_schema=MailSchema.QMAIL) as server:
        base = server.settings.branch("people")
        with LdapDirectory(server_of(server), (base,)) as reader:
            with Connection(server_of(server)) as connection:
                campus = Campus(server, connection, base, reader)
                stays, goes = campus.person(new_user()), campus.person(new_user())
                found, _ = campus.read()
                cookie = reader.cookie()
                connection.delete(goes)
            server.halt()  # and forgets its log of what happened in the session
            with pytest.raises(Temporary):
                reader.changes(cookie)
            server.start()
            changes = reader.changes(cookie)
            assert changes.gone == (found[goes].id,)
            assert changes.changed == ()
            assert reader.ids() == {found[stays].id}
        with LdapDirectory(server_of(server), (base,)) as forgetful:
            told = forgetful.changes(cookie)
            assert told.full_read or told.gone == (found[goes].id,)
