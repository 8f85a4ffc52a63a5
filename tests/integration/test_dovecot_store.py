"""Dovecot as a store, rendered by us and run for real: who may log in, whose mail is taken, filters, quota, sharing."""

from __future__ import annotations

import base64
import imaplib
import poplib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from urllib.request import urlopen

import pytest

from lab.ldap_people import Text, person
from lab.open_dovecot import MASTER, MASTER_PASSWORD, OpenDovecot
from lab.openldap import OpenLdap
from lab.postfix import open_side
from lab.process import free_port
from mailferry.rules.transport import Site, convert
from mailferry.stack.postfix.settings import Endpoint

PASSWORD = "ferry-own"
HERE = {"mailferryRoute": "local", "mailHost": "store1", "userPassword": PASSWORD}


@pytest.fixture(scope="module")
def directory() -> Iterator[OpenLdap]:
    with OpenLdap() as server:
        yield server


@pytest.fixture(scope="module")
def store(directory: OpenLdap) -> Iterator[OpenDovecot]:
    with OpenDovecot(directory) as server:
        yield server


def add(directory: OpenLdap, uid: str, **more: Text) -> str:
    """A person whose mail comes here, unless `more` says otherwise; the uid."""
    directory.add(person(directory.suffix, uid, **{**HERE, **more}))
    return uid


def change(directory: OpenLdap, uid: str, **values: str) -> None:
    steps = [(2, name, [value.encode()]) for name, value in values.items()]
    directory.connect().modify_s(f"uid={uid},ou=people,{directory.suffix}", steps)


@contextmanager
def imap(store: OpenDovecot, user: str, password: str = PASSWORD) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", store.port) as client:
        client.login(user, password)
        yield client


def may_log_in(store: OpenDovecot, user: str, password: str = PASSWORD) -> bool:
    try:
        with imap(store, user, password) as client:
            return client.select("INBOX")[0] == "OK"
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error)
        return False


def deliver(
    store: OpenDovecot, to: str, subject: str = "hello", header: str = "", body: str = "text"
) -> tuple[int, str]:
    """Hand a message in as Postfix does; the code and words of the store, of RCPT or of the end of DATA."""
    with smtplib.LMTP("127.0.0.1", store.lmtp_port) as client:
        client.ehlo("mx.acme.example")
        client.mail("someone@outside.example")
        code, said = client.rcpt(to)
        if code < 400:
            message = f"From: someone@outside.example\r\nTo: {to}\r\nSubject: {subject}\r\n"
            message += f"Message-ID: <{subject}@outside.example>\r\n{header}\r\n{body}\r\n"
            code, said = client.data(message)
        return code, said.decode()


def subjects(store: OpenDovecot, user: str, folder: str = "INBOX", password: str = PASSWORD) -> list[str]:
    with imap(store, user, password) as client:
        code, _ = client.select(folder, readonly=True)
        if code != "OK":
            return []
        _, found = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        return [one[1].decode().split(":", 1)[1].strip() for one in found if isinstance(one, tuple)]


class TestLogIn:
    def test_by_uid_and_by_each_address(self, directory: OpenLdap, store: OpenDovecot) -> None:
        add(directory, "anna", mailLocalAddress=["anna@acme.example", "a.o'neil@acme.test", "boss@acme.example"])
        for name in ("anna", "ANNA", "anna@acme.example", "Boss@acme.example", "a.o'neil@acme.test"):
            assert may_log_in(store, name)
            assert not may_log_in(store, name, "wrong")
        assert {path.name for path in store.mail_dir.iterdir()} >= {"anna"}
        assert not [path for path in store.mail_dir.iterdir() if "@" in path.name], "one mailbox, whatever the name"

    @pytest.mark.parametrize(
        "more",
        [
            {"mailferryRoute": "exchange"},
            {"mailferryRoute": "parked"},
            {"mailHost": "store2"},
            {"mailferryEnabled": "FALSE"},
        ],
        ids=["exchange", "parked", "another store", "disabled"],
    )
    def test_a_mailbox_is_closed_to_its_owner_until_their_mail_comes_here(
        self, directory: OpenLdap, store: OpenDovecot, more: dict[str, Text]
    ) -> None:
        uid = add(directory, f"closed-{'-'.join(map(str, more.values()))}", **more)
        assert not may_log_in(store, uid)
        assert may_log_in(store, f"{uid}*{MASTER}", MASTER_PASSWORD), "Mailferry fills it meanwhile"
        change(directory, uid, mailferryRoute="local", mailHost="store1", mailferryEnabled="TRUE")
        assert may_log_in(store, uid), "at once, nothing is remembered"
        change(directory, uid, mailferryRoute="parked")
        assert not may_log_in(store, uid)

    def test_the_master_user_comes_from_its_own_networks_alone(self, directory: OpenLdap) -> None:
        add(directory, "far")
        with OpenDovecot(directory) as store:
            assert not may_log_in(store, f"far*{MASTER}", "wrong")
            assert may_log_in(store, f"far*{MASTER}", MASTER_PASSWORD)
            store.halt()
            store.change_store(master_networks=("192.0.2.0/24",))
            store.start()
            assert not may_log_in(store, f"far*{MASTER}", MASTER_PASSWORD)
            assert may_log_in(store, "far")

    def test_a_directory_that_is_away_says_so(self, own_openldap: OpenLdap) -> None:
        add(own_openldap, "anna")
        with OpenDovecot(own_openldap) as store:
            assert may_log_in(store, "anna")
            own_openldap.halt()
            with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"), imap(store, "anna"):
                pass

    @pytest.mark.parametrize("right", [True, False], ids=["right", "somebody else"])
    def test_the_directory_has_to_be_the_right_one(self, directory: OpenLdap, right: bool) -> None:
        uid = add(directory, f"tls-{right}")
        store = OpenDovecot(directory)
        authority = directory.ca_file if right else store.ca_file
        store.settings = replace(store.settings, directory=replace(store.settings.directory, ca_file=authority))
        with store, imaplib.IMAP4("127.0.0.1", store.port) as client:
            if right:
                client.login(uid, PASSWORD)
            else:
                with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
                    client.login(uid, PASSWORD)

    def test_more_clients_than_dovecot_takes_by_itself(self, directory: OpenLdap, store: OpenDovecot) -> None:
        """Its own limit is a process for each TLS connection, of 100."""
        uid = add(directory, "latecomer")
        context = ssl.create_default_context(cafile=str(store.ca_file))
        with ExitStack() as stack:
            early = [
                stack.enter_context(imaplib.IMAP4_SSL("localhost", store.tls_port, ssl_context=context, timeout=20))
                for _ in range(105)
            ]
            assert early[-1].login(uid, PASSWORD)[0] == "OK"
            assert early[0].noop()[0] == "OK", "nobody had to go"


class TestHandingIn:
    def test_postfix_asks_who_may(self, directory: OpenLdap) -> None:
        """The authentication that Postfix does for its clients (smtpd_sasl_type = dovecot)."""
        add(directory, "moved", mailLocalAddress=["moved@acme.example", "m@acme.example"])
        add(directory, "stays", mailferryRoute="exchange")
        add(directory, "gone", mailferryEnabled="FALSE")
        store = OpenDovecot(directory)
        port = free_port()
        store.settings = replace(store.settings, sasl=Endpoint("127.0.0.1", port))
        with store:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as postfix:
                assert postfix.recv(100).startswith(b"VERSION\t1\t")

            def told(user: str, password: str = PASSWORD) -> str:
                return store.doveadm("auth", "test", "-x", "service=smtp", user, password, check=False)

            assert "auth succeeded" in told("m@acme.example") and "user=moved" in told("m@acme.example")
            assert "auth succeeded" in told("stays")
            assert "auth succeeded" not in told("stays", "wrong") + told("gone") + told("nobody")


class TestDelivery:
    def test_an_address_lands_with_the_uid(self, directory: OpenLdap, store: OpenDovecot) -> None:
        uid = add(directory, "d-anna", mail="anna.delivery@acme.example", mailLocalAddress="anna.delivery@acme.example")
        assert deliver(store, "Anna.Delivery@acme.example", "landed")[0] == 250
        assert subjects(store, uid) == ["landed"]
        assert store.maildir(uid).is_dir()
        log = store.log()
        assert re.search(rf"lmtp\({uid}\).*msgid=<landed@outside.example> size=\d+: saved mail to INBOX", log), log
        assert re.search(rf"lmtp\({uid}\).*save: box=INBOX, uid=1, msgid=<landed@outside.example>", log)

    def test_an_address_may_have_odd_letters(self, directory: OpenLdap, store: OpenDovecot) -> None:
        odd = "o'neil+#/../x&=~!?^_`{|}$@acme.example"
        uid = add(directory, "oneil", mail=odd, mailLocalAddress=odd)
        assert deliver(store, odd, "odd")[0] == 250
        assert subjects(store, uid) == subjects(store, f'"{odd}"') == ["odd"]
        assert store.maildir(uid).is_dir()

    def test_nobody_is_refused_and_who_is_elsewhere_put_off(self, directory: OpenLdap, store: OpenDovecot) -> None:
        assert deliver(store, "nobody@acme.example") == (
            550,
            "5.1.1 <nobody@acme.example> User doesn't exist: nobody@acme.example",
        )
        for number, more in enumerate(
            ({"mailferryRoute": "exchange"}, {"mailferryRoute": "parked"}, {"mailHost": "x"})
        ):
            uid = add(directory, f"elsewhere{number}", **more)
            code, said = deliver(store, f"{uid}@acme.example")
            assert code == 451, said
            assert not store.maildir(uid).exists()
            change(directory, uid, mailferryRoute="local", mailHost="store1")
            assert deliver(store, f"{uid}@acme.example")[0] == 250

    def test_a_directory_that_is_away_puts_everybody_off(self, own_openldap: OpenLdap) -> None:
        uid = add(own_openldap, "anna")
        with OpenDovecot(own_openldap) as store:
            assert deliver(store, f"{uid}@acme.example", "before")[0] == 250
            own_openldap.halt()
            assert deliver(store, f"{uid}@acme.example")[0] == 451
            assert deliver(store, "nobody@acme.example")[0] == 451, "not 550: nobody knows"
            own_openldap.start()
            deadline = time.monotonic() + 20
            while (code := deliver(store, f"{uid}@acme.example", "after")[0]) != 250:
                assert code == 451 and time.monotonic() < deadline
                time.sleep(0.5)
            assert subjects(store, uid) == ["before", "after"]

    def test_doveadm_lists_those_whose_mail_comes_here(self, own_openldap: OpenLdap) -> None:
        add(own_openldap, "anna")
        add(own_openldap, "bert", mailHost="store2")
        add(own_openldap, "carl", mailferryRoute="exchange")
        with OpenDovecot(own_openldap) as store:
            assert store.doveadm("user", "*").split() == ["anna"]

    def test_figures_can_be_read(self, directory: OpenLdap) -> None:
        uid, at = add(directory, "counted"), Endpoint("127.0.0.1", free_port())
        with OpenDovecot(directory, metrics=at) as store:
            assert deliver(store, f"{uid}@acme.example")[0] == 250
            deadline = time.monotonic() + 10
            while "dovecot_delivery_total 1" not in (
                figures := urlopen(f"http://127.0.0.1:{at.port}/metrics").read().decode()
            ):
                assert time.monotonic() < deadline, figures
                time.sleep(0.1)


class TestQuota:
    @pytest.mark.parametrize(("defer", "code"), [(True, "452"), (False, "552")])
    def test_a_full_mailbox(self, directory: OpenLdap, defer: bool, code: str) -> None:
        uid = add(directory, f"full{code}", mailferryQuota="20000")
        with OpenDovecot(directory, defer_over_quota=defer) as store:
            with imap(store, uid) as client:
                assert client.getquotaroot("INBOX")[1][1] == [b'"User quota" (STORAGE 0 20)']
            assert deliver(store, f"{uid}@acme.example", body="x" * 900)[0] == 250
            got, said = deliver(store, f"{uid}@acme.example", body=("x" * 900 + "\r\n") * 50)
            assert str(got) == code, said

    def test_mailferry_fills_a_mailbox_whatever_it_may_hold(self, directory: OpenLdap, store: OpenDovecot) -> None:
        uid = add(directory, "filled", mailferryQuota="20000", mailferryRoute="exchange")
        message = b"Subject: old\r\n\r\n" + b"x" * 30000
        with imap(store, f"{uid}*{MASTER}", MASTER_PASSWORD) as client:
            assert client.append("INBOX", "", imaplib.Time2Internaldate(0), message)[0] == "OK"
        change(directory, uid, mailferryRoute="local")
        assert subjects(store, uid) == ["old"]
        with imap(store, uid) as client:
            code, said = client.append("INBOX", "", imaplib.Time2Internaldate(0), message)
            assert (code, b"OVERQUOTA" in said[0]) == ("NO", True)


class TestPop3:
    def test_uidls_are_those_that_were_brought(self, directory: OpenLdap, store: OpenDovecot) -> None:
        uid = add(directory, "popper")
        for subject in ("one", "two"):
            assert deliver(store, f"{uid}@acme.example", subject)[0] == 250
        listing = store.maildir(uid) / "dovecot-uidlist"
        listing.write_text(re.sub(r"^1 :", "1 Pfrom-exchange-0001 :", listing.read_text(), flags=re.MULTILINE))
        client = poplib.POP3("127.0.0.1", store.pop3_port)
        client.user(uid)
        client.pass_(PASSWORD)
        uidls = [line.split()[1].decode() for line in client.uidl()[1]]
        client.quit()
        validity = int(re.search(r"V(\d+)", listing.read_text())[1])  # type: ignore[index]
        assert uidls == ["from-exchange-0001", f"{2:08x}{validity:08x}"]


class TestFolders:
    def test_special_use_and_namespaces(self, directory: OpenLdap, store: OpenDovecot) -> None:
        uid = add(directory, "folders")
        with imap(store, uid) as client:
            client.create("Sent")
            client.create("Projects/2026")
            odd = ('"Dr. No"', "~home", '"back\\\\slash"')
            assert [client.create(name)[0] for name in odd] == ["OK"] * 3
            listed = b"\n".join(one for one in client.list()[1] if isinstance(one, bytes))
            assert all(f'"/" {name}'.encode() in listed for name in odd)
            assert b'(\\HasNoChildren \\Sent) "/" Sent' in listed
            assert b'"/" Projects/2026' in listed
            assert b"Trash" not in listed, "nothing is there that nobody made"
            assert client.namespace()[1] == [b'(("" "/")) (("user/" "/")) NIL']

    def test_a_shared_folder_is_seen_by_whom_it_is_shared_with(self, directory: OpenLdap, store: OpenDovecot) -> None:
        owner, friend, other = (add(directory, name) for name in ("sh.owner", "sh.friend", "sh.other"))
        assert deliver(store, f"{owner}@acme.example", "private")[0] == 250
        with imap(store, owner) as client:
            client.create("Plans")
            client.append("Plans", "", imaplib.Time2Internaldate(0), b"Subject: shared\r\n\r\ntext\r\n")
            assert client.setacl("Plans", friend, "lrs")[0] == "OK"
        shared = f"user/{owner}/Plans"
        assert subjects(store, friend, shared) == ["shared"]
        assert subjects(store, friend, f"user/{owner}") == subjects(store, friend, f"user/{owner}/INBOX") == []
        assert subjects(store, other, shared) == []
        with imap(store, friend) as client:
            assert any(
                one.endswith(shared.encode()) for one in client.list('""', "user/*")[1] if isinstance(one, bytes)
            )
        with imap(store, other) as client:
            assert not any(b"Plans" in one for one in client.list('""', "user/*")[1] if isinstance(one, bytes))

    def test_who_has_the_whole_of_a_shared_mailbox(self, directory: OpenLdap, store: OpenDovecot) -> None:
        team = add(directory, "team", mailferryKind="shared", mailferryEnabled="FALSE")
        member = add(directory, "member")
        assert deliver(store, f"{team}@acme.example", "for the team")[0] == 250
        assert not may_log_in(store, team)
        with imap(store, f"{team}*{MASTER}", MASTER_PASSWORD) as client:
            client.create("Done")
            for folder in ("INBOX", "Done"):
                assert client.setacl(folder, member, "lrwstipekx")[0] == "OK"
        assert subjects(store, member, f"user/{team}/INBOX") == ["for the team"]
        with imap(store, member) as client:
            assert client.select(f"user/{team}/INBOX")[0] == "OK"
            assert client.uid("MOVE", "1", f"user/{team}/Done")[0] == "OK"
        assert subjects(store, member, f"user/{team}/Done") == ["for the team"]


class Sieve:
    """A ManageSieve session (RFC 5804), as much as a test needs."""

    def __init__(self, store: OpenDovecot, user: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", store.sieve_port), timeout=20)
        self.stream = self.socket.makefile("rwb")
        self.capabilities = self.answer()
        secret = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        self.command(f'AUTHENTICATE "PLAIN" "{secret}"')

    def answer(self) -> str:
        said = ""
        while not re.match(r"(OK|NO|BYE)\b", line := self.stream.readline().decode()):
            assert line, said
            said += line
        assert line.startswith("OK"), said + line
        return said

    def command(self, text: str) -> str:
        self.stream.write(text.encode() + b"\r\n")
        self.stream.flush()
        return self.answer()

    def activate(self, script: str) -> None:
        self.command(f'PUTSCRIPT "main" {{{len(script.encode())}+}}\r\n{script}')
        self.command('SETACTIVE "main"')
        self.command("LOGOUT")
        self.stream.close()
        self.socket.close()


class TestSieve:
    def test_a_filter_files_mail(self, directory: OpenLdap, store: OpenDovecot) -> None:
        uid = add(directory, "filters")
        session = Sieve(store, uid)
        offered = re.search(r'"SIEVE" "(.*)"', session.capabilities)
        assert offered is not None
        names = set(offered[1].split())
        assert {"fileinto", "vacation", "vacation-seconds", "imap4flags", "copy", "mailbox", "duplicate"} <= names
        assert not {"editheader", "vnd.dovecot.pipe", "vnd.dovecot.execute"} & names
        session.activate(
            'require ["fileinto", "mailbox"];\nif header :contains "Subject" "list" {fileinto :create "Lists/one";}\n'
        )
        assert deliver(store, f"{uid}@acme.example", "list-1")[0] == 250
        assert deliver(store, f"{uid}@acme.example", "plain")[0] == 250
        assert (subjects(store, uid, "Lists/one"), subjects(store, uid)) == (["list-1"], ["plain"])

    def test_a_notice_of_absence_is_sent_once(self, directory: OpenLdap) -> None:
        uid, friend = add(directory, "away"), add(directory, "awaysfriend")
        store = OpenDovecot(directory)
        postfix = open_side(directory, ("127.0.0.1", 9), {"store1": ("127.0.0.1", store.lmtp_port)})
        store.change_store(relay=Endpoint("127.0.0.1", postfix.port))
        with store, postfix:
            Sieve(store, uid).activate('require "vacation";\nvacation :days 7 "back on Monday";\n')
            for subject in ("first", "second"):
                postfix.send(f"{uid}@acme.example", subject, sender=f"{friend}@acme.example")
                postfix.drained()
            assert subjects(store, uid) == ["first", "second"]
            with imap(store, friend) as client:
                client.select("INBOX", readonly=True)
                (_, notice), *more = (one for one in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(one, tuple))
            assert not more, "one notice for two messages"
            assert b"back on Monday" in notice and f"From: <{uid}@acme.example>".encode() in notice


def test_the_organisations_rules_run_before_a_persons_own_filter(directory: OpenLdap) -> None:
    """They may change headers, which nobody's own filter may."""
    rule = {"Name": "mark", "Priority": 0, "StopRuleProcessing": False, "FromScope": "NotInOrganization"}
    script = convert([("f:1", {**rule, "PrependSubject": "[OUT] "})], Site(("acme.example",))).script
    uid = add(directory, "ruled")
    with OpenDovecot(directory, before=script) as store:
        assert deliver(store, f"{uid}@acme.example")[0] == 250
        (message,) = [path.read_text() for path in (store.maildir(uid) / "new").iterdir()]
        assert "\nSubject: [OUT] hello" in message
        own = store.maildir(uid).with_name(".dovecot.sieve")
        own.write_text('require "editheader";\ndeleteheader "Subject";\n')
        deliver(store, f"{uid}@acme.example", "again")
        assert "editheader" in own.with_name(".dovecot.sieve.log").read_text()
