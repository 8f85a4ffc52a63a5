"""Whose mailbox its Sent folder says it is: headers of honest and of odd messages, and mailboxes of each kind."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailferry.model.folder import Folder, SpecialUse
from mailferry.net.memory import MemoryStore
from mailferry.sources.memory import MemorySource, MemorySourceSession
from mailferry.waves import evidence
from mailferry.waves.evidence import Evidence, Verdict, gather, judged, sample, written_by

ALICE = (
    "alice@acme.example",
    "a.smith@acme.example",
    "/o=Acme/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=alice",
)


FIELDS = (
    b"",
    b"From: ",
    b"from:",
    b"From: a@b.example\r\nSender: ",
    b'From: "',
    b"From: <",
    b"From: \xff<a@\xe4.example>",
)


def block(*fields: str) -> bytes:
    return "".join(f"{field}\r\n" for field in (*fields, "Subject: not ours to read")).encode()


@pytest.mark.parametrize(
    "field",
    [
        "From: alice@acme.example",
        "FROM:\r\n =?utf-8?q?Alice_=3Cmallory=40evil.example=3E?=\r\n <ALICE@Acme.Example>",
        'From: "Smith, \\"Ali\\" <bob@acme.example>" <a.smith@acme.example>',
        "From: a.smith@acme.example (Alice)",
        "From: Alice </o=Acme/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=ALICE>",
        "From: /o=Acme/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=alice",
        "From: A <IMCEAEX-_o=Acme_ou=Exchange+20Administrative+20Group+20+28FYDIBOHF23SPDLT+29_cn=Recipients_cn=alice@"
        "acme.local>",
        "From: SMTP:alice@acme.example",
        "From: Alice <alice@acme.example>\r\nSender: Alice <a.smith@acme.example>",
        "From: The Boss <boss@acme.example>\r\nSender: alice@acme.example",
    ],
)
def test_what_the_owner_sent_is_known_however_it_is_written(field: str) -> None:
    found = judged([block(field)], ALICE, (), "Sent")
    assert found == Evidence(Verdict.CONFIRMED, 1, 1, (), "1 of 1 messages in Sent were sent by the owner")


@pytest.mark.parametrize(
    "field",
    [
        "X-From: bob@acme.example",
        "From:",
        "From: undisclosed",
        "From: a@b.example, alice@acme.example",
        "From: <alice@acme.example> <bob@acme.example>",
        "From: alice@acme.example\r\nFrom: bob@acme.example",
        "From: alice@acme.example\r\nSender: delegate@acme.example",
        "From: alice@acme.example\r\nSender: one@acme.example, two@acme.example",
        "From: " + "x" * 9000 + " <alice@acme.example>",
        "From: alice@before.example",
        "From: boss@acme.example",
    ],
)
def test_what_tells_nothing_is_no_evidence(field: str) -> None:
    found = judged([block(field)], ALICE, ("boss@acme.example",), "Sent")
    assert found.verdict is Verdict.NO_EVIDENCE
    assert found.checked == 0


def test_bytes_that_are_no_text_raise_nothing() -> None:
    assert written_by(b"From: J\xfcrgen <j\xfc@acme.example>\r\nSender: \xff\xfe\x00\r\n\r\n")[0] == "jü@acme.example"
    assert written_by("From: <a@bücher.example>".encode()) == written_by(b"From: <A@xn--bcher-kva.example>")
    assert written_by(b"") == (None, None)


@given(st.lists(st.binary(max_size=200) | st.text(max_size=80).map(str.encode), max_size=4), st.sampled_from(FIELDS))
def test_whatever_stands_in_a_header_nothing_is_raised_and_the_sums_hold(parts: list[bytes], field: bytes) -> None:
    found = judged([field + part for part in parts], ALICE, (), "Sent")
    assert 0 <= found.matching <= found.checked <= len(parts)
    assert (found.verdict is Verdict.CONFIRMED) <= (found.matching > 0)


def test_another_persons_mailbox_is_contradicted() -> None:
    found = judged([block("From: Bob <bob@acme.example>")] * 7, ALICE, (), "Sent")
    assert (found.verdict, found.checked, found.matching) == (Verdict.CONTRADICTED, 7, 0)
    assert found.others == ("bob@acme.example",)


def test_a_few_others_do_not_unsettle_and_many_of_one_do() -> None:
    own, bob = block("From: alice@acme.example"), block("From: bob@acme.example")
    assert judged([own] * 9 + [bob], ALICE, (), "Sent").verdict is Verdict.CONFIRMED
    assert judged([own] * 6 + [bob] * 4, ALICE, (), "Sent").verdict is Verdict.NO_EVIDENCE
    strangers = [block(f"From: {number}@else.example") for number in range(12)]
    assert judged([own] * 9 + strangers, ALICE, (), "Sent").verdict is Verdict.NO_EVIDENCE


def test_a_namesake_of_another_domain_is_named_to_whoever_approves() -> None:
    found = judged([block("From: Alice <alice@acme-labs.example>")] * 3, ALICE, (), "Sent")
    assert (found.verdict, found.checked, found.others) == (Verdict.NO_EVIDENCE, 0, ("alice@acme-labs.example",))


def test_without_an_address_nothing_is_contradicted() -> None:
    assert judged([block("From: bob@acme.example")], (), (), "Sent").verdict is Verdict.NO_EVIDENCE


def test_the_sample_is_the_newest_and_evenly_spread() -> None:
    assert sample(range(1, 31)) == list(range(1, 31))
    found = sample(range(1, 10_001))
    assert found[0] == 1
    assert found[-20:] == list(range(9981, 10_001))
    assert len(found) == len(set(found)) == 50
    gaps = {later - earlier for earlier, later in itertools.pairwise(found[:30])}
    assert gaps <= {332, 333}


def mailbox(name: str = "Gesendete Elemente", use: SpecialUse | None = None) -> MemoryStore:
    store = MemoryStore()
    store.add_folder((name,), special_use=use)
    return store


def test_the_sent_folder_is_found_in_any_language_and_only_its_headers_are_read() -> None:
    store = mailbox()
    for _ in range(3):
        store.add(("Gesendete Elemente",), block("From: alice@acme.example") + b"\r\nFrom: bob@acme.example\r\n")
    store.add(("INBOX",), block("From: bob@acme.example") + b"\r\n")
    found = asyncio.run(gather(MemorySource(store), ALICE))
    assert (found.verdict, found.checked) == (Verdict.CONFIRMED, 3)
    assert evidence.from_data(evidence.as_data(found)) == found
    assert evidence.from_data({}) is None


def test_new_people_have_no_evidence() -> None:
    assert asyncio.run(gather(MemorySource(MemoryStore()), ALICE)).how == "it has no folder for sent messages"
    assert asyncio.run(gather(MemorySource(mailbox()), ALICE)).how == "Gesendete Elemente is empty"


class _Vanishing(MemorySourceSession):
    """Somebody removes Sent once it was listed."""

    async def folders(self) -> list[Folder]:
        listed = await super().folders()
        self._store.remove_folder(("Sent",))
        return listed


class _VanishingSource(MemorySource):
    async def session(self) -> MemorySourceSession:
        return _Vanishing(self.store)


def test_a_sent_folder_that_does_not_open_is_no_evidence() -> None:
    found = asyncio.run(gather(_VanishingSource(mailbox("Sent", SpecialUse.SENT)), ALICE))
    assert (found.verdict, found.how) == (Verdict.NO_EVIDENCE, "Sent does not open: no such folder")
