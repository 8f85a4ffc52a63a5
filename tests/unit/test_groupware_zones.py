"""Time zones as Exchange and Windows name them, and the VTIMEZONEs that go with them, read by dateutil."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.tz import tzical
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from mailferry.groupware import vtimezone
from mailferry.groupware.zones import by_rules, choose, local, named, utc
from mailferry.model.groupware import UTC, Moment, Turn, Zone, ZoneRules
from mailferry.wire.mapi.zone_blobs import offset_of, wall_clock

BERLIN = ZoneRules(60, 120, Turn(3, 5, 6, 120), Turn(10, 5, 6, 180))
NEW_YORK = ZoneRules(-300, -240, Turn(3, 2, 6, 120), Turn(11, 1, 6, 120))
ODD = ZoneRules(75, 105, Turn(4, 1, 0, 60), Turn(9, 2, 3, 90))
SOUTH = ZoneRules(600, 660, Turn(10, 1, 6, 120), Turn(4, 1, 6, 180))


@pytest.mark.parametrize("name", sorted(WINDOWS_TO_OLSON))
def test_every_id_of_windows_is_known(name: str) -> None:
    assert named(name) in (WINDOWS_TO_OLSON[name], "UTC")
    assert named(name.upper()) == named(name)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("/freeassociation.sourceforge.net/Europe/Berlin", "Europe/Berlin"),
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "Europe/Berlin"),
        ("(GMT+01:00) Amsterdam, Berlin, Bern, Rom, Stockholm, Wien", "Europe/Berlin"),
        ("(UTC-05:00) Eastern Time (US & Canada)", "America/New_York"),
        ("(UTC-08:00) Pacific Time (US & Canada)", "America/Los_Angeles"),
        ("(UTC-07:00) Mountain Time (US & Canada)", "America/Denver"),
        ("(UTC+00:00) Dublin, Edinburgh, Lisbon, London", "Europe/London"),
        ("(UTC+12:00) Petropavlovsk-Kamchatsky - Old", "Asia/Kamchatka"),
        ("Kamchatka Standard Time", "Asia/Kamchatka"),
        ("Mid-Atlantic Standard Time", "Atlantic/South_Georgia"),
        ("(UTC-02:00) Mid-Atlantic - Old", "Atlantic/South_Georgia"),
        ("W. Europe Daylight Time", "Europe/Berlin"),
        ("tzone://Microsoft/Utc", "UTC"),
        ("(UTC) Coordinated Universal Time", "UTC"),
        ("UTC+3", "Etc/GMT-3"),
        ("Customized Time Zone", ""),
        ("Mars Standard Time", ""),
        ("", ""),
    ],
)
def test_names(name: str, zone: str) -> None:
    found = named(name)
    if zone == "Europe/London":
        assert ZoneInfo(found).utcoffset(datetime(2024, 7, 1)) == timedelta(hours=1)
    else:
        assert found == zone


def test_customized_zones_are_known_by_their_rules() -> None:
    assert by_rules(BERLIN, 2024) == "Europe/Berlin"
    assert choose(Zone("Customized Time Zone", NEW_YORK), 2024).tzid == "America/New_York"
    assert by_rules(ZoneRules(330), 2024) == "Asia/Calcutta"
    assert by_rules(ZoneRules(0), 2024) == "UTC"
    assert by_rules(ODD, 2024) == ""
    assert by_rules(NEW_YORK, 2005) == ""  # the United States turned their clocks otherwise until 2006


def test_rules_that_nobody_has_are_written_as_they_are() -> None:
    chosen = choose(Zone("Customized Time Zone", ODD), 2024)
    assert chosen.rules == ODD
    assert chosen.tzid.startswith("Customized Time Zone ")
    assert chosen.loss == ""
    assert chosen.tzid != choose(Zone("Customized Time Zone", SOUTH), 2005).tzid


def test_a_zone_that_nobody_knows_floats_with_a_loss() -> None:
    chosen = choose(Zone("Mars Standard Time"), 2024)
    assert (chosen.tzid, chosen.rules) == ("", None)
    assert "Mars Standard Time" in chosen.loss
    assert choose(Zone(), 2024).loss == ""


@pytest.mark.parametrize("rules", [BERLIN, NEW_YORK, ODD, SOUTH, ZoneRules(-570)])
def test_instants_and_wall_clocks(rules: ZoneRules) -> None:
    """There and back, but for the hour that does not exist."""
    at = datetime(2024, 1, 1, 0, 30)
    while at.year == 2024:
        there = wall_clock(at, rules)
        assert there - timedelta(minutes=offset_of(rules, there)) in (
            at,
            at - timedelta(hours=1),
            at - timedelta(minutes=30),
        )
        at += timedelta(hours=5)
    zone = Zone("nobody's", rules)
    noon = Moment(datetime(2024, 7, 1, 12), zone)
    assert local(utc(noon), zone) == noon.local
    assert utc(Moment(datetime(2024, 7, 1, 12), UTC)) == datetime(2024, 7, 1, 12)


@pytest.mark.parametrize(
    ("tzid", "first"),
    [
        ("Europe/Berlin", 1995),
        ("America/New_York", 2003),
        ("Australia/Sydney", 2000),
        ("Europe/Moscow", 2009),
        ("Asia/Kolkata", 2020),
        ("Pacific/Apia", 2010),
        ("America/Sao_Paulo", 2016),
        ("Asia/Tehran", 2020),
    ],
)
def test_a_vtimezone_says_what_iana_says(tzid: str, first: int) -> None:
    """Six moments of every month, and beyond the last year that is looked at."""
    text = b"BEGIN:VCALENDAR\r\n" + vtimezone.iana(tzid, first) + b"END:VCALENDAR\r\n"
    read, info = tzical(io.StringIO(text.decode())).get(), ZoneInfo(tzid)
    for year in (*range(first, first + 9), 2036, 2040):
        for number in range(72):
            at = datetime(year, 1, 1, 12) + timedelta(days=5 * number)
            assert at.replace(tzinfo=read).utcoffset() == at.replace(tzinfo=info).utcoffset(), at
    assert len(text) < 6000


@pytest.mark.parametrize("rules", [BERLIN, ODD, SOUTH, ZoneRules(345)])
def test_a_vtimezone_of_rules_says_what_they_say(rules: ZoneRules) -> None:
    text = b"BEGIN:VCALENDAR\r\n" + vtimezone.of_rules("own", rules, 2019) + b"END:VCALENDAR\r\n"
    read = tzical(io.StringIO(text.decode())).get()
    for number in range(0, 365 * 3, 3):
        at = datetime(2019, 1, 1, 12) + timedelta(days=number)
        assert at.replace(tzinfo=read).utcoffset() == timedelta(minutes=offset_of(rules, at)), at
