"""Transport rules: compiled and run by Pigeonhole, tables asked by Postfix, and all of it before a person's own filter
in a real Dovecot."""

from __future__ import annotations

import json
import shutil
import smtplib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import process, transport_page
from lab.dovecot import Dovecot
from mailferry.cli.rules import rules_command
from mailferry.errors import UserError
from mailferry.ops.signatures import export
from mailferry.rules.names import Rating
from mailferry.rules.transport import Done, Site, convert
from mailferry.rules.transport_names import ACTIONS, CONDITIONS
from tests.rules import pigeonhole

SITE = Site(("acme.example",))
DISCARD = {"DeleteMessage": True}
E, A, M = Rating.EXACT, Rating.APPROXIMATE, Rating.MANUAL
CASES: list[tuple[dict[str, Any], dict[str, str], dict[str, str]]] = [
    ({"SubjectContainsWords": ["Win!", "lottery"]}, {"Subject": "the LOTTERY, again"}, {"Subject": "lotteryish"}),
    ({"SubjectContainsWords": ["a.b"]}, {"Subject": "see (a.b)"}, {"Subject": "see (axb)"}),
    ({"SubjectContainsWords": ["two words"]}, {"Subject": "two  words"}, {"Subject": "twowords"}),
    ({"SubjectMatchesPatterns": ["^order \\d+$"]}, {"Subject": "Order 12"}, {"Subject": "My order 12"}),
    ({"SubjectOrBodyContainsWords": ["secret"]}, {"body": "a secret, here"}, {"body": "secretary"}),
    ({"SubjectOrBodyMatchesPatterns": ["c[ao]t\\s"]}, {"Subject": "a cat sat"}, {"body": "a catalogue"}),
    (
        {"HeaderContainsMessageHeader": "X-Spam", "HeaderContainsWords": ["yes"]},
        {"X-Spam": "Yes, 12"},
        {"X-Spam": "yesterday"},
    ),
    (
        {"HeaderMatchesMessageHeader": "X-Spam", "HeaderMatchesPatterns": ["\\*\\*\\*"]},
        {"X-Spam": "*****"},
        {"X-Spam": "**"},
    ),
    ({"From": ["Zoe@Outside.example"]}, {}, {"From": "zoe@outside.example.org"}),
    ({"FromAddressContainsWords": ["zoe"]}, {}, {"From": "zoey@outside.example"}),
    ({"FromAddressMatchesPatterns": ["outside\\.example$"]}, {}, {"From": "zoe@outside.example.org"}),
    ({"SenderDomainIs": ["outside.example"]}, {"From": "z@sub.outside.example"}, {"From": "z@notoutside.example"}),
    ({"FromScope": "NotInOrganization"}, {}, {"From": "bob@acme.example"}),
    ({"FromScope": "InOrganization"}, {"From": "bob@sub.acme.example"}, {}),
    ({"AnyOfToHeader": ["ann@acme.example"]}, {}, {"To": "bob@acme.example", "Cc": "ann@acme.example"}),
    ({"AnyOfCcHeader": ["ann@acme.example"]}, {"Cc": "ann@acme.example"}, {}),
    ({"AnyOfToCcHeader": ["ann@acme.example"]}, {}, {"To": "bob@acme.example"}),
    ({"MessageSizeOver": "1 KB (1,024 bytes)"}, {"body": "x" * 1100}, {}),
    ({"WithImportance": "High"}, {"Importance": "high"}, {}),
    ({"WithImportance": "Normal"}, {}, {"Importance": "low"}),
    (
        {"AttachmentExtensionMatchesWords": ["exe", "js"]},
        {"Content-Disposition": 'attachment; filename="a.EXE"'},
        {"Content-Disposition": 'attachment; filename="exe.txt"'},
    ),
    (
        {"AttachmentNameMatchesPatterns": ["^invoice"]},
        {"Content-Type": 'application/pdf; name="Invoice 1.pdf"'},
        {"Content-Type": 'application/pdf; name="My invoice.pdf"'},
    ),
    ({"SentTo": ["ann@acme.example"], "WithImportance": "High"}, {"Importance": "high"}, {}),
    ({"SentToScope": "InOrganization", "FromScope": "NotInOrganization"}, {}, {"From": "b@acme.example"}),
    ({"RecipientDomainIs": ["acme.example"], "From": ["zoe@outside.example"]}, {}, {"From": "x@outside.example"}),
    ({"RecipientAddressContainsWords": ["ann"], "From": ["zoe@outside.example"]}, {}, {"From": "x@y.example"}),
    ({"RecipientAddressMatchesPatterns": ["^ann@"], "From": ["zoe@outside.example"]}, {}, {"From": "x@y.example"}),
    ({"ExceptIfSubjectContainsWords": ["urgent"]}, {}, {"Subject": "very urgent"}),
    (
        {"FromScope": "NotInOrganization", "ExceptIfSenderDomainIs": ["outside.example"]},
        {"From": "x@far.example"},
        {},
    ),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that whoever Pigeonhole's tools or Dovecot's mail processes run as may enter."""
    folder = process.workspace("transport")
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def made(*rows: Mapping[str, Any], site: Site = SITE) -> Done:
    named = [{"Name": f"rule {n}", "Priority": n, "StopRuleProcessing": False, **row} for n, row in enumerate(rows)]
    return convert([(f"f:{n}", row) for n, row in enumerate(named)], site)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_condition_fits_what_it_should_and_nothing_else(number: int, place: Path) -> None:
    row, fits, other = CASES[number]
    done = made({**row, **DISCARD})
    assert done.parts[0].place == "sieve", done.parts
    assert "discard" in str(pigeonhole.deeds(done.script, fits, place)), done.script
    assert "discard" not in str(pigeonhole.deeds(done.script, other, place)), done.script


def test_every_condition_that_sieve_can_say_is_run_here() -> None:
    run = {name.removeprefix("ExceptIf") for row, _, _ in CASES for name in row}
    assert run == {name for name, row in CONDITIONS.items() if row.rating is not M}


@pytest.mark.parametrize(
    ("actions", "deed"),
    [
        ({"RejectMessageReasonText": 'No "way"', "RejectMessageEnhancedStatusCode": "5.7.1"}, "reject"),
        ({"RedirectMessageTo": ["desk@acme.example"]}, "redirect message to: <desk@acme.example>"),
        ({"BlindCopyTo": [{"Address": "log@acme.example"}]}, "redirect message to: <log@acme.example>"),
        ({"SetSCL": "9"}, "store message in folder: Junk"),
        ({"DeleteMessage": True, "StopRuleProcessing": True}, "discard"),
    ],
)
def test_actions(actions: dict[str, Any], deed: str, place: Path) -> None:
    done = made({"From": ["zoe@outside.example"], **actions})
    told = pigeonhole.deeds(done.script, {}, place)
    assert deed in str(told), (told, done.script)
    kept = "BlindCopyTo" in actions
    assert any("INBOX" in one for one in told) == kept


@pytest.mark.parametrize(
    "row",
    [
        {"FromMemberOf": ["Staff"], **DISCARD},
        {"SubjectContainsWords": ["x"], "ApplyHtmlDisclaimerText": "<b>us</b>"},
        {"SubjectContainsWords": ["x"], "SomethingNew": "y", **DISCARD},
        {"SubjectContainsWords": "System.Collections.Generic.List`1[Word]", **DISCARD},
        {"SubjectContainsWords": ["straße"], **DISCARD},
        {"SubjectMatchesPatterns": ["(?<=a)b"], **DISCARD},
        {"SubjectMatchesPatterns": ["a+?b"], **DISCARD},
        {"SubjectMatchesPatterns": ["\\bword"], **DISCARD},
        {"SubjectContainsWords": ["${1}"], **DISCARD},
        {"From": ["Zoe Zimmer"], **DISCARD},
        {"SentToScope": "NotInOrganization", **DISCARD},
        {"From": ["a@b.example"], "SetSCL": -1},
        {"From": ["a@b.example"], "ActivationDate": "2027-01-01", **DISCARD},
        {"HeaderContainsWords": ["yes"], **DISCARD},
        {"From": ["a@b.example"]},
    ],
)
def test_what_is_not_certain_is_left_to_a_human(row: dict[str, Any]) -> None:
    done = made(row)
    (part,) = done.parts
    assert (part.rating, part.place, part.active) == (M, "", True) and part.notes and not done.script, done


def test_without_the_domains_nobody_is_inside() -> None:
    assert made({"FromScope": "InOrganization", **DISCARD}, site=Site(())).parts[0].rating is M


def test_rules_that_do_not_run_and_their_order() -> None:
    off = {"From": ["a@b.example"], "State": "Disabled", **DISCARD}
    done = made(
        off, {**off, "State": "Enabled", "Mode": "AuditAndNotify"}, {**off, "State": "Enabled", "Mode": "Enforce"}
    )
    assert [(one.active, one.place) for one in done.parts] == [(False, ""), (False, ""), (True, "sieve")]
    stops = {"From": ["a@b.example"], "SetSCL": -1, "StopRuleProcessing": True}
    later = made(stops, {"From": ["a@b.example"], **DISCARD}).parts[1]
    assert later.rating is A and "does not stop it" in later.notes[-1]


def test_every_action_of_the_table_is_known_to_the_converter() -> None:
    values = {"SetHeaderName": "X-A", "SetSCL": 9, "RemoveHeader": "X-A"}
    for name, row in ACTIONS.items():
        value: Any = values.get(name, ["a@b.example"])
        more: dict[str, Any] = {"RejectMessageReasonText": "no"} if name == "RejectMessageEnhancedStatusCode" else {}
        more |= {"SetHeaderName": "X-A"} if name == "SetHeaderValue" else {}
        (part,) = made({"SentTo": ["a@acme.example"], "WithImportance": "High", name: value, **more}).parts
        assert part.rating is max(
            row.rating, A if more.get("RejectMessageReasonText") else E, key=list(Rating).index
        ), name


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=60))
def test_any_text_gives_a_script_that_compiles_or_none(text: str, tmp_path: Path) -> None:
    rows = [
        {name: [text], **DISCARD}
        for name in ("SubjectContainsWords", "From", "SenderDomainIs", "SubjectMatchesPatterns")
    ]
    rows += [
        {"From": ["a@b.example"], "RejectMessageReasonText": text},
        {"From": ["a@b.example"], "PrependSubject": text},
    ]
    script = made(*rows).script
    if script:
        _compiles(script, tmp_path)


def _compiles(script: str, folder: Path) -> None:
    config, source = folder / "edit.conf", folder / "edit.sieve"
    config.write_text("plugin {\n  sieve_extensions = +editheader\n}\n")
    source.write_bytes(script.encode())
    done = subprocess.run(
        ["sievec", "-c", str(config), str(source), str(folder / "x.svbin")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (script, done.stderr)


def test_what_postfix_says_just_the_same(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"MessageSizeOver": "10 MB (10,485,760 bytes)", "RejectMessageReasonText": "too large"},
        {"SenderIpRanges": ["192.0.2.0/24", "198.51.100.7"], "RejectMessageReasonText": "not you"},
        {"SentTo": ["Boss@acme.example"], "BlindCopyTo": ["clerk@acme.example"]},
        {"BlindCopyTo": ["archive@acme.example"]},
    ]
    named = [{"Name": f"rule {n}", "Priority": n, "StopRuleProcessing": False, **row} for n, row in enumerate(rows)]
    (tmp_path / "rules.json").write_text(json.dumps(named))
    out = tmp_path / "out"
    argv = ["transport", str(tmp_path / "rules.json"), "-o", str(out), "--tables", str(out), "--json"]
    done = CliRunner().invoke(rules_command, argv, standalone_mode=False, catch_exceptions=False)
    assert done.return_value == 0, done.output
    assert [one["where"] for one in json.loads(done.stdout)["rules"]] == ["postfix"] * 4
    assert not (out / "transport.sieve").exists() and (out / "transport.csv").exists()
    (out / "master.cf").touch()
    asked = ["message_size_limit", "always_bcc", "recipient_bcc_maps", "smtpd_client_restrictions"]
    told = subprocess.run(["postconf", "-c", str(out), *asked], capture_output=True, text=True, check=True)
    assert not told.stderr
    assert told.stdout.splitlines() == [
        "message_size_limit = 10485760",
        "always_bcc = archive@acme.example",
        f"recipient_bcc_maps = texthash:{out}/recipient_bcc",
        f"smtpd_client_restrictions = check_client_access cidr:{out}/client_access.cidr",
    ]
    assert _asked("boss@acme.example", f"texthash:{out}/recipient_bcc", out) == "clerk@acme.example"
    for address in ("192.0.2.200", "198.51.100.7"):
        assert _asked(address, f"cidr:{out}/client_access.cidr", out) == "550 5.7.1 not you"
    assert _asked("198.51.100.8", f"cidr:{out}/client_access.cidr", out) == ""


def _asked(key: str, table: str, config: Path) -> str:
    done = subprocess.run(["postmap", "-c", str(config), "-q", key, table], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def test_before_a_persons_own_filter(place: Path) -> None:
    """What changes headers, and what stops: `stop` ends these rules, and the person's filter runs all the same."""
    rows: list[dict[str, Any]] = [
        {"FromScope": "NotInOrganization", "PrependSubject": "[EXTERNAL] "},
        {
            "SubjectContainsWords": ["tagged"],
            "SetHeaderName": "X-Tag",
            "SetHeaderValue": 'a "b"',
            "RemoveHeader": "X-Old",
        },
        {
            "SubjectContainsWords": ["last"],
            "StopRuleProcessing": True,
            "SetHeaderName": "X-Last",
            "SetHeaderValue": "1",
        },
        {"SubjectContainsWords": ["last"], "DeleteMessage": True},
    ]
    script = made(*rows).script
    settings = f"""
protocol lmtp {{
  mail_plugins = $mail_plugins sieve
}}
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
  sieve_before = {place}/before.sieve
  sieve_global_extensions = +editheader
}}
"""
    (place / "before.sieve").write_text(script, newline="")
    with Dovecot(lmtp=True, settings=settings) as store:
        home = store.maildir("u1").parent
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o777)
        (home / ".dovecot.sieve").write_text(
            'require ["fileinto", "mailbox"];\nif header :contains "X-Last" "1" {\n  fileinto :create "Own";\n}\n'
        )
        with smtplib.LMTP("127.0.0.1", store.lmtp_port) as client:
            for subject in ("plain", "tagged", "last"):
                text = f"From: zoe@far.example\r\nTo: u1\r\nX-Old: 1\r\nSubject: {subject}\r\n\r\ntext\r\n"
                client.sendmail("zoe@far.example", ["u1"], text)
        inbox, own = (_messages(store.maildir("u1") / name) for name in ("new", ".Own/new"))
        assert [one for one in inbox if "Subject: [EXTERNAL] plain" in one and "X-Old" in one], inbox
        assert [
            one for one in inbox if "Subject: [EXTERNAL] tagged" in one and 'X-Tag: a "b"' in one and "X-Old" not in one
        ]
        assert len(inbox) == 2 and len(own) == 1 and "X-Last: 1" in own[0]


def _messages(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.iterdir()] if folder.exists() else []


def test_the_page_is_the_code() -> None:
    assert transport_page.PAGE.read_text(encoding="utf-8") == transport_page.page()


def test_signatures_become_files_with_safe_names(tmp_path: Path) -> None:
    rows = [
        {
            "MailboxOwnerId": "../../etc/ann",
            "SignatureHtml": "<b>Ann</b>",
            "SignatureText": "Ann",
            "AutoAddSignature": True,
        },
        {"Identity": "bob", "SignatureHtml": "", "SignatureText": None},
        {"Identity": "cat", "SignatureText": "Cät"},
    ]
    path = tmp_path / "signatures.json"
    path.write_text(json.dumps(rows))
    done = export([path], tmp_path / "out")
    assert [(one.owner, one.new, one.replies) for one in done] == [
        ("../../etc/ann", True, False),
        ("cat", False, False),
    ]
    found = {
        str(one.relative_to(tmp_path / "out")): one.read_text()
        for one in (tmp_path / "out").rglob("*.*")
        if one.is_file()
    }
    assert found == {"etc_ann/signature.html": "<b>Ann</b>", "etc_ann/signature.txt": "Ann", "cat/signature.txt": "Cät"}
    path.write_text(json.dumps([{"Identity": "a/b", "SignatureText": "1"}, {"Identity": "a_b", "SignatureText": "2"}]))
    with pytest.raises(UserError, match="folder would be that of a/b"):
        export([path], tmp_path / "out")
