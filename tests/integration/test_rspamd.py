"""rspamd as Postfix's milter, both from our renderer: spam is refused while the sender waits, other mail is marked."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.dovecot import Dovecot
from lab.ldap_people import person
from lab.openldap import OpenLdap
from lab.postfix import DOMAIN, Postfix, open_side
from lab.rspamd import Rspamd
from mailferry.errors import ConfigError
from mailferry.stack import checkers, rspamd
from mailferry.stack.file import File, Kit
from mailferry.stack.postfix.settings import Milter
from tests.mail_flow import STORE

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@dataclass
class Side:
    openldap: OpenLdap
    postfix: Postfix
    store: Dovecot
    rspamd: Rspamd

    def add(self, uid: str) -> str:
        self.openldap.add(person(self.openldap.suffix, uid, mailferryRoute="local", mailHost=STORE))
        return f"{uid}@{DOMAIN}"

    def stored(self, address: str) -> list[str]:
        self.postfix.drained()
        return [path.read_text() for path in (self.store.maildir(address) / "new").iterdir()]


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with ExitStack() as stack:
        openldap = stack.enter_context(OpenLdap())
        store = stack.enter_context(Dovecot(lmtp=True))
        looker = stack.enter_context(Rspamd())
        stores = {STORE: ("127.0.0.1", store.lmtp_port)}
        milter = Milter(looker.settings.milter, "tempfail")
        postfix = stack.enter_context(open_side(openldap, ("127.0.0.1", 9), stores, milter=milter))
        yield Side(openldap, postfix, store, looker)


def test_spam_is_refused_and_other_mail_passes(side: Side, new_user: Callable[[], str]) -> None:
    address = side.add(new_user())
    side.postfix.send(address, "an ordinary subject")
    with pytest.raises(smtplib.SMTPDataError) as caught:
        side.postfix.send(address, GTUBE)
    assert caught.value.smtp_code == 554
    (message,) = side.stored(address)
    assert "an ordinary subject" in message and "X-Spam-Status: No" in message


def test_while_it_is_away_senders_come_again(side: Side, new_user: Callable[[], str]) -> None:
    address = side.add(new_user())
    side.rspamd.halt()
    try:
        with smtplib.SMTP("127.0.0.1", side.postfix.port, timeout=30) as client:
            client.ehlo("test.example")
            code, said = client.mail("someone@outside.example")
        assert code == 451 and said.startswith(b"4.7.1")
    finally:
        side.rspamd.start()
    side.postfix.send(address, "seen")
    assert len(side.stored(address)) == 1


def test_rspamds_own_checker_takes_the_files_with_a_virus_scanner_too() -> None:
    for clamav in (None, "127.0.0.1:3310", "/run/clamav/clamd.ctl"):
        settings = rspamd.Settings("127.0.0.1:11332", "127.0.0.1:11334", 15, 6, clamav, ("127.0.0.0/8", "::1"))
        (told,) = checkers.check(rspamd.kit(settings))
        assert told.well, told.said
    broken = rspamd.kit(rspamd.Settings("127.0.0.1:11332", "127.0.0.1:11334", 15, 6))
    files = tuple(
        File(one.name, b"reject = {;\n", place=one.place) if one.name.endswith("actions.conf") else one
        for one in broken.files
    )
    (told,) = checkers.check(Kit("rspamd", files, "", ""))
    assert told.well is False


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError):
        rspamd.Settings("127.0.0.1:1", "127.0.0.1:2", reject=5, mark=6)
    with pytest.raises(ConfigError):
        rspamd.Settings("127.0.0.1:1", "127.0.0.1:2", 15, 6, clamav='"; evil')
    with pytest.raises(ConfigError):
        rspamd.Settings("127.0.0.1:1", "127.0.0.1:2", 15, 6, config_dir=Path("/a b"))
