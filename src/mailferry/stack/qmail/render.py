"""The files of a qmail host: its control files (qmail-control(5)), what starts it, the programs beside it.

Pure: gives names, contents and places. Invariants: all domains of the organisation are this host's own, so that who
gets a message is decided anew at every try, by the recipient's `.qmail`; mail for a recipient without one waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files as resources
from pathlib import Path

from mailferry.stack.file import File
from mailferry.stack.qmail.people import NOBODY
from mailferry.stack.qmail.programs.queue import PARKED
from mailferry.stack.qmail.settings import Settings, place, tcprule

DAY = 86400
FEW = 50
"""More domains than these stand in control/morercpthosts (qmail-smtpd(8))."""
PROGRAMS = ("__init__.py", "lookup.py", "front.py", "queue.py", "answer.py")
LAUNCHED = ("front", "queue", "answer")
SERVICES = ("qmail", "smtpd", "exchange")
"""What runs, by the names of scripts and units: qmail-send, the listener for everybody, the one for Exchange."""


def files(settings: Settings) -> Iterator[File]:
    """Everything that is installed. Names are those in the kit; control files stand in `control-…`."""
    prefix, programs = settings.places.prefix, settings.places.programs
    for name, text in control(settings).items():
        yield File(f"control-{name}", text.encode(), place=prefix / "control" / name)
    for name in PROGRAMS:
        source = resources("mailferry.stack.qmail.programs").joinpath(name).read_bytes()
        yield File(f"programs-{name}", source, place=programs / "programs" / name)
    yield File("host.json", host(settings).encode(), place=programs / "host.json")
    for name in LAUNCHED:
        yield File(name, _launcher(settings, name).encode(), 0o755, programs / name)
    yield File("parked", _parked(settings).encode(), 0o755, programs / "parked")
    yield File("smtpd.rules", rules(settings).encode(), place=programs / "smtpd.rules")
    yield File("exchange.rules", exchange_rules(settings).encode(), place=programs / "exchange.rules")
    for name, text in scripts(settings).items():
        yield File(f"run-{name}", text.encode(), 0o755, programs / f"run-{name}")


def control(settings: Settings) -> Mapping[str, str]:
    """Each control file by its name."""
    main = settings.domains[0]
    routes = [f"{settings.exchange_domain}:{settings.exchange.host}:{settings.exchange.port}"]
    routes += [f"{name}:{at.host}:{at.port}" for name, at in sorted(settings.stores.items()) if name != settings.store]
    if settings.relay is not None:
        routes.append(f":{settings.relay.host}:{settings.relay.port}")
    domains = settings.local_domains
    return {
        "me": _lines(settings.hostname),
        "locals": "",
        "rcpthosts": _lines(*domains[:FEW]),
        "morercpthosts": _lines(*domains[FEW:]),
        "virtualdomains": _lines(*(f"{domain}:{domain}" for domain in domains)),
        "smtproutes": _lines(*routes),
        "defaultdomain": _lines(main),
        "plusdomain": _lines(main),
        "doublebouncehost": _lines(main),
        "bouncehost": _lines(main),
        "databytes": _lines(str(settings.message_size)),
        "queuelifetime": _lines(str(settings.queue_days * DAY)),
        "concurrencylocal": _lines(str(settings.concurrency[0])),
        "concurrencyremote": _lines(str(settings.concurrency[1])),
    }


def host(settings: Settings) -> str:
    """host.json, which the programs read."""
    local, _, domain = settings.probe_from.rpartition("@")
    values = {
        "qmail": str(settings.places.prefix),
        "state": str(settings.places.state),
        "domains": sorted(settings.local_domains),
        "open_domain": settings.open_domain,
        "exchange_domain": settings.exchange_domain,
        "stores": sorted(set(settings.stores) - {settings.store}),
        "probe": [local, domain],
        "stale_seconds": settings.stale_seconds,
    }
    return json.dumps(values, indent=1) + "\n"


def rules(settings: Settings) -> str:
    """tcprules(1) of the listener for everybody."""
    return _lines(*(f'{tcprule(one)}:allow,RELAYCLIENT=""' for one in settings.own_networks), ":allow")


def exchange_rules(settings: Settings) -> str:
    """Those of the listener for Exchange."""
    lines = (f'{tcprule(one)}:allow,MAILFERRY_FROM="exchange"' for one in settings.exchange_networks)
    return _lines(*lines, ":deny")


def scripts(settings: Settings) -> Mapping[str, str]:
    """What runs each service, in the foreground, for systemd and for trials."""
    qmail = settings.places.prefix
    path = f"PATH={qmail}/bin:/usr/local/bin:/usr/bin:/bin"
    # what happens where a home has no `.qmail`: it waits, and is never delivered somewhere by default
    otherwise = "|echo '[no-route]'; exit 111"
    return {
        "qmail": f'#!/bin/sh\nexec env - "{path}" {qmail}/bin/qmail-start "{otherwise}"\n',
        "smtpd": _listener(settings, "smtpd", *place(settings.listen)),
        "exchange": _listener(settings, "exchange", *place(settings.listen_exchange)),
    }


def _listener(settings: Settings, name: str, address: str, port: int) -> str:
    qmail, programs = settings.places.prefix, settings.places.programs
    return f"""\
#!/bin/sh
exec env - PATH=/usr/local/bin:/usr/bin:/bin \\
    tcpserver -v -H -R -l {settings.hostname} -c {settings.sessions} -x {programs}/{name}.cdb \\
    -u "$(id -u qmaild)" -g "$(id -g qmaild)" {address} {port} \\
    {programs}/front {qmail}/bin/qmail-smtpd 2>&1
"""


def _launcher(settings: Settings, name: str) -> str:
    path = settings.places.programs
    return f'#!/bin/sh\nPYTHONPATH={path} exec python3 -P -S -B -m programs.{name} "$@"\n'


def _parked(settings: Settings) -> str:
    local, _, domain = settings.probe_from.rpartition("@")
    probes = settings.places.state / "probes"
    return f"""\
#!/bin/sh
# What `.qmail` says of somebody who is parked: the message waits. A probe of Mailferry leaves its mark instead.
case $SENDER in
{_quoted(local)}-*@{_quoted(domain)})
    token=${{SENDER#{_quoted(local)}-}}
    token=${{token%@*}}
    case $token in
    *[!0-9a-f]*) ;;
    ????????????????)
        cd "{probes}" && printf '%s\\n' "$HOME" > ".$token" && mv ".$token" "$token" && exit 99 ;;
    esac ;;
esac
echo "{PARKED}"
exit 111
"""


def _quoted(text: str) -> str:
    """For the pattern of a `case`."""
    return "'" + text.replace("'", "'\\''") + "'"


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def folders(settings: Settings) -> tuple[tuple[Path, bool], ...]:
    """Directories that have to be there, and whether they are the mail's owner's (else root's)."""
    state = settings.places.state
    return (
        (state, False),
        (state / "people", False),
        (state / "others", False),
        (state / NOBODY, False),
        (state / "probes", True),
        (state / "answered", True),
        (settings.places.mail_dir, True),
    )
