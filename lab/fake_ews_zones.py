"""Windows time zones as the fake Exchange answers them (GetServerTimeZones, StartTimeZone), with today's rules."""

from __future__ import annotations

_RULES = {
    "W. Europe Standard Time": ("(UTC+01:00) Amsterdam, Berlin, Rome", -60, -120, (10, 3, -1), (3, 2, -1)),
    "Eastern Standard Time": ("(UTC-05:00) Eastern Time (US & Canada)", 300, 240, (11, 2, 1), (3, 2, 2)),
    "India Standard Time": ("(UTC+05:30) Chennai, Kolkata", -330, None, None, None),
    "UTC": ("(UTC) Coordinated Universal Time", 0, None, None, None),
}
"""Name, biases in minutes west (standard, daylight), when either begins: month, hour, week."""


def _bias(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else ''}PT{hours}H{f'{rest}M' if rest else ''}"


def definition(
    name: str, tag: str = "TimeZoneDefinition", shown: str | None = None, rules_of: str | None = None
) -> str:
    """A TimeZoneDefinition. `rules_of`: whose rules it has, where it is a zone that nobody knows by name."""
    text, standard, daylight, to_standard, to_daylight = _RULES[rules_of or name]
    periods = f'<t:Period Bias="{_bias(standard)}" Name="Standard" Id="std"/>'
    group = '<t:Transition><t:To Kind="Period">std</t:To></t:Transition>'
    if daylight is not None and to_standard is not None and to_daylight is not None:
        periods += f'<t:Period Bias="{_bias(daylight)}" Name="Daylight" Id="dlt"/>'
        group = _turn("std", *to_standard) + _turn("dlt", *to_daylight)
    label = (shown or text).replace("&", "&amp;")
    return (
        f'<t:{tag} Id="{name}" Name="{label}"><t:Periods>{periods}</t:Periods><t:TransitionsGroups>'
        f'<t:TransitionsGroup Id="0">{group}</t:TransitionsGroup></t:TransitionsGroups><t:Transitions><t:Transition>'
        f'<t:To Kind="Group">0</t:To></t:Transition></t:Transitions></t:{tag}>'
    )


def _turn(period: str, month: int, hour: int, week: int) -> str:
    return (
        f'<t:RecurringDayTransition><t:To Kind="Period">{period}</t:To><t:TimeOffset>PT{hour}H</t:TimeOffset>'
        f"<t:Month>{month}</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek><t:Occurrence>{week}</t:Occurrence>"
        "</t:RecurringDayTransition>"
    )


ZONES = {name: definition(name) for name in _RULES}
