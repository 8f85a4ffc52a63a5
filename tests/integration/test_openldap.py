"""Our OpenLDAP, for real: schema, uniqueness, who may see what, TLS, and first loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ldap
import pytest

from lab.ldap_people import as_ldif, as_modlist, person
from lab.openldap import LOOKUP_PASSWORD, OpenLdap
from mailferry.errors import Permanent, SafetyStop
from mailferry.stack.openldap import run
from mailferry.stack.openldap.settings import MailSchema, Readers

NewUser = Callable[[], str]


def found(
    server: OpenLdap, connection: ldap.ldapobject.LDAPObject, uid: str
) -> list[tuple[str, dict[str, list[bytes]]]]:
    answer: list[tuple[str, dict[str, list[bytes]]]] = connection.search_s(
        server.suffix, ldap.SCOPE_SUBTREE, f"(mail={uid}@acme.example)"
    )
    return answer


def test_a_group_a_contact_and_a_person_fit_the_schema(openldap: OpenLdap, new_user: NewUser) -> None:
    uid = new_user()
    addresses = [f"{uid}@acme.example", f"IMCEAEX-_O=ACME_OU={'LONG+20' * 20}CN={uid}@acme.example"]
    entry = person(
        openldap.suffix,
        uid,
        mailferryX500="/o=Acme/ou=First/cn=Recipients/cn=Zoë",
        mailferryHidden="FALSE",
        mailferryQuota="2147483648000",
        mailferryForwardTo="smtp@elsewhere.example",
        mailferryExpires="20301231235959Z",
        mailLocalAddress=addresses,
    )
    dn = openldap.add(entry)
    admin = openldap.connect()
    group = f"cn={uid},ou=groups,{openldap.suffix}"
    admin.add_s(
        group,
        [
            ("objectClass", [b"groupOfNames", b"inetLocalMailRecipient", b"mailferryRecipient", b"mailferryGroup"]),
            ("cn", [uid.encode()]),
            ("mail", [b"group-" + uid.encode() + b"@acme.example"]),
            ("mailferrySourceId", [b"ad:group-" + uid.encode()]),
            ("member", [openldap.settings.nobody_dn.encode()]),
            ("owner", [dn.encode()]),
            ("mailferryAcceptFrom", [dn.encode()]),
            ("mailferryAcceptFromAddress", [b"boss@elsewhere.example"]),
            ("mailferryExternalMember", [b"guest@elsewhere.example"]),
            ("mailferryMemberFilter", [b"(&(objectClass=user)(department=Sales))"]),
        ],
    )
    who = [name for name, _ in admin.search_s(openldap.suffix, ldap.SCOPE_SUBTREE, f"(mailferryAcceptFrom={dn})")]
    assert who == [group]
    assert admin.search_s(openldap.settings.nobody_dn, ldap.SCOPE_BASE), "the placeholder is an entry"
    born = person(openldap.suffix, new_user())  # on the open side: a route, and no id of a source
    admin.add_s(born[0], [one for one in as_modlist(born) if one[0] != "mailferrySourceId"])


def test_the_qmail_schema_and_mail_host_go_together() -> None:
    with OpenLdap(mail_schema=MailSchema.QMAIL) as server:
        entry = person(
            server.suffix,
            "quentin",
            objectClass=["inetOrgPerson", "qmailUser", "mailferryRecipient", "inetLocalMailRecipient"],
            mailHost="mail1.acme.example",
            mailAlternateAddress=["quentin@acme.example", "q@acme.example"],
            mailMessageStore="/var/qmail/quentin",
            homeDirectory="/var/qmail/quentin",
            accountStatus="active",
            deliveryMode=["noprogram", "reply"],
            mailReplyText="Bin im Urlaub, zurück am 3.",
            mailQuotaSize="1000000",
            qmailUID="10001",
        )
        admin = server.connect()
        admin.add_s(entry[0], as_modlist(entry))
        twice = person(server.suffix, "other", mailAlternateAddress="Q@acme.example")
        twice[1]["objectClass"].append(b"qmailUser")
        with pytest.raises(ldap.CONSTRAINT_VIOLATION):
            admin.add_s(twice[0], as_modlist(twice))


@pytest.mark.parametrize("name", ["mail", "mailLocalAddress", "mailferrySourceId", "uid"])
def test_nobody_gets_what_is_somebodys(openldap: OpenLdap, new_user: NewUser, name: str) -> None:
    """Also by the sync's own account, and in another case."""
    first, second = new_user(), new_user()
    taken = person(openldap.suffix, first)
    openldap.add(person(openldap.suffix, first))
    entry = person(openldap.suffix, second)
    value = taken[1][name][0] if name == "mailferrySourceId" else taken[1][name][0].upper()
    entry[1][name] = [value]
    dn = entry[0].replace(second, value.decode()).replace("ou=people", "ou=shared") if name == "uid" else entry[0]
    with pytest.raises(ldap.CONSTRAINT_VIOLATION):
        openldap.connect(openldap.settings.writer_dn, "ferry-writer").add_s(dn, as_modlist(entry))


def test_who_may_see_what(openldap: OpenLdap, new_user: NewUser) -> None:
    shown, hidden = new_user(), new_user()
    dn = openldap.add(person(openldap.suffix, shown, mailferryX500="/o=Acme/cn=x", telephoneNumber="+49 30 1"))
    hidden_dn = openldap.add(person(openldap.suffix, hidden, mailferryHidden="TRUE"))
    admin = openldap.connect()
    for one in (dn, hidden_dn):
        admin.passwd_s(one, None, "their-own")
    assert found(openldap, admin, shown)[0][1]["userPassword"][0].startswith(b"{ARGON2}$argon2")

    reader = openldap.connect(dn, "their-own")
    assert found(openldap, reader, hidden) == []
    with pytest.raises(ldap.NO_SUCH_OBJECT):
        reader.search_s(hidden_dn, ldap.SCOPE_BASE)
    mine = found(openldap, reader, shown)[0][1]
    assert mine["telephoneNumber"] == [b"+49 30 1"]
    assert "userPassword" not in mine
    other = found(openldap, openldap.connect(hidden_dn, "their-own"), shown)[0][1]
    assert not {"userPassword", "mailferryX500", "mailferryRoute", "mailLocalAddress", "mailferrySourceId"} & set(other)
    assert reader.search_s(openldap.suffix, ldap.SCOPE_SUBTREE, "(mailferryX500=*)", ["cn"]) == [
        (dn, {"cn": [b"Alice Archer"]})
    ], "one's own entry, and nobody else's"
    assert reader.search_s(openldap.suffix, ldap.SCOPE_SUBTREE, "(objectClass=simpleSecurityObject)") == []
    with pytest.raises(ldap.INSUFFICIENT_ACCESS):
        reader.modify_s(dn, [(ldap.MOD_REPLACE, "telephoneNumber", [b"+1"])])

    reader.passwd_s(dn, "their-own", "changed")
    with pytest.raises(ldap.INVALID_CREDENTIALS):
        openldap.connect(dn, "their-own")
    lookup = openldap.connect(openldap.settings.lookup_dn, LOOKUP_PASSWORD)
    seen = found(openldap, lookup, hidden)[0][1]
    assert seen["mailferryRoute"] == [b"exchange"]
    assert "userPassword" not in seen
    with pytest.raises(ldap.INSUFFICIENT_ACCESS):
        lookup.modify_s(dn, [(ldap.MOD_REPLACE, "description", [b"x"])])


def test_the_sync_writes_but_reads_no_password(openldap: OpenLdap, new_user: NewUser) -> None:
    dn = openldap.add(person(openldap.suffix, new_user()))
    openldap.connect().passwd_s(dn, None, "secret")
    writer = openldap.connect(openldap.settings.writer_dn, "ferry-writer")
    assert "userPassword" not in writer.search_s(dn, ldap.SCOPE_BASE)[0][1]
    writer.modify_s(dn, [(ldap.MOD_REPLACE, "userPassword", []), (ldap.MOD_REPLACE, "title", [b"Clerk"])])
    assert "userPassword" not in openldap.connect().search_s(dn, ldap.SCOPE_BASE)[0][1]
    writer.rename_s(dn, f"uid={new_user()}", f"ou=shared,{openldap.suffix}")
    with pytest.raises(ldap.INSUFFICIENT_ACCESS):
        writer.delete_s(openldap.settings.lookup_dn)


def test_strangers_read_only_where_told(openldap: OpenLdap, new_user: NewUser) -> None:
    uid = new_user()
    openldap.add(person(openldap.suffix, uid))
    with pytest.raises(ldap.NO_SUCH_OBJECT):
        found(openldap, openldap.connect(""), uid)
    with OpenLdap(readers=Readers.ANONYMOUS) as server:
        server.add(person(server.suffix, uid))
        server.add(person(server.suffix, "ghost", mailferryHidden="TRUE"))
        nobody = server.connect("")
        assert set(found(server, nobody, uid)[0][1]) == {"objectClass", "cn", "sn", "givenName", "mail"}
        assert found(server, nobody, "ghost") == []
        assert nobody.search_s("", ldap.SCOPE_SUBTREE, f"(mail={uid}@acme.example)"), "macOS asks without a base"


def test_passwords_only_over_tls_where_wanted() -> None:
    with OpenLdap(require_tls=True) as server:
        with pytest.raises(ldap.CONFIDENTIALITY_REQUIRED):
            server.connect()
        secure = ldap.initialize(server.url)
        secure.set_option(ldap.OPT_X_TLS_CACERTFILE, str(server.ca_file))
        secure.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        secure.start_tls_s()
        secure.simple_bind_s(server.admin_dn, "ferry-admin")
        local = ldap.initialize(server.ldapi)
        local.simple_bind_s(server.admin_dn, "ferry-admin")
        assert local.whoami_s() == f"dn:{server.admin_dn}"


def test_root_manages_the_configuration_by_the_local_socket(openldap: OpenLdap) -> None:
    local = ldap.initialize(openldap.ldapi)
    local.sasl_external_bind_s()
    entries = local.search_s("cn=config", ldap.SCOPE_SUBTREE, "(olcSuffix=*)", ["olcSuffix"])
    assert [values["olcSuffix"] for _, values in entries] == [[openldap.suffix.encode()]]


def people(server: OpenLdap, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield as_ldif(person(server.suffix, f"bulk{number}"))


def count(server: OpenLdap) -> int:
    return len(server.connect().search_s(f"ou=people,{server.suffix}", ldap.SCOPE_ONELEVEL, attrlist=["1.1"]))


def test_a_bulk_load_adds_to_what_is_there(own_openldap: OpenLdap) -> None:
    server = own_openldap
    dn = server.add(person(server.suffix, "before"))
    server.connect().passwd_s(dn, None, "kept")
    was = server.connect().search_s(dn, ldap.SCOPE_BASE, attrlist=["entryUUID", "entryCSN"])
    with pytest.raises(SafetyStop, match="running"):
        server.load(people(server, 3))
    server.halt()
    server.load(people(server, 500))
    server.start()
    assert count(server) == 501
    assert server.connect(dn, "kept").whoami_s() == f"dn:{dn}"
    admin = server.connect()
    assert admin.search_s(dn, ldap.SCOPE_BASE, attrlist=["entryUUID", "entryCSN"]) == was
    _, new = admin.search_s(f"uid=bulk1,ou=people,{server.suffix}", ldap.SCOPE_BASE, attrlist=["+"])[0]
    _, top = admin.search_s(server.suffix, ldap.SCOPE_BASE, attrlist=["contextCSN"])[0]
    assert len(new["entryUUID"]) == 1
    assert [csn >= new["entryCSN"][0] for csn in top["contextCSN"]] == [True]


def test_a_bad_entry_in_a_bulk_load_changes_nothing(own_openldap: OpenLdap) -> None:
    server = own_openldap
    server.halt()

    def bad() -> Iterator[bytes]:
        yield from people(server, 50)
        yield b"dn: uid=bad,ou=people,dc=acme,dc=example\nobjectClass: inetOrgPerson\nuid: bad\n\n"
        yield from people(server, 50)

    def failing() -> Iterator[bytes]:
        yield from people(server, 50)
        raise RuntimeError("the ledger is gone")

    with pytest.raises(Permanent, match="uid=bad"):
        server.load(bad())
    large = [as_ldif(person(server.suffix, "large", jpegPhoto="x" * 1000000)) for _ in range(2)]
    server.configure(max_size=1 << 20)
    with pytest.raises(Permanent, match="MDB_MAP_FULL"):
        server.load(large)
    server.configure(max_size=1 << 30)
    with pytest.raises(RuntimeError, match="the ledger is gone"):
        server.load(failing())
    assert not (server.settings.data_dir / "loading").exists()
    server.start()
    assert count(server) == 0


def test_a_bulk_load_killed_in_the_middle_leaves_the_old_database(own_openldap: OpenLdap, tmp_path: Path) -> None:
    server = own_openldap
    server.add(person(server.suffix, "before"))
    server.halt()
    script = f"""
import itertools, pathlib, time
from lab.ldap_people import as_ldif, person
from mailferry.stack.openldap import run
def forever():
    for number in itertools.count():
        yield as_ldif(person({server.suffix!r}, f"bulk{{number}}"))
        if number == 2000:
            pathlib.Path({str(tmp_path)!r}, "mark").touch()
            time.sleep(60)
run.load(pathlib.Path({str(server.settings.config_dir)!r}), forever())
"""
    environment = os.environ | {"PYTHONPATH": "src:."}
    loading = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 30
    while not (tmp_path / "mark").exists():
        assert time.monotonic() < deadline and loading.poll() is None
        time.sleep(0.01)
    loading.send_signal(signal.SIGKILL)
    loading.wait()
    assert (server.settings.data_dir / "loading").exists(), "it was in the middle"
    server.start()
    assert count(server) == 1
    server.halt()
    server.load(people(server, 10))
    server.start()
    assert count(server) == 11
    assert not (server.settings.data_dir / "loading").exists()
    assert run.place(server.settings.config_dir).is_running
