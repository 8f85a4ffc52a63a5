"""The use case behind `mailferry directory ad-schema`: what an administrator of Active Directory is given, so that
routes can be kept there. Connects to nothing.
"""

from __future__ import annotations

from pathlib import Path

from mailferry.config.settings import Settings
from mailferry.errors import Permanent
from mailferry.ops.route_store import route_store
from mailferry.stack import ad_schema

SCHEMA, RIGHTS, README = "mailferry-schema.ldf", "rights.cmd", "README.md"


def write(settings: Settings, out: Path) -> list[Path]:
    """Schema extension, rights and how to put them in force. ConfigError: routes are not to be in Active Directory;
    Permanent when the disk says no."""
    base = route_store(settings).suffix
    parts = [part for part in base.split(",") if part.strip().upper().startswith("DC=")]
    domain = ",".join(part.strip() for part in parts)
    named = settings.coexist.exchange.bind if settings.coexist is not None else None
    account = named if named and {"@", "\\"} & set(named) else "DOMAIN\\ACCOUNT"  # dsacls takes no DN
    texts = {
        README: _readme(domain, account),
        SCHEMA: ad_schema.ldif(domain).decode(),
        RIGHTS: "".join(f"{line}\r\n" for line in ["@echo off", *ad_schema.rights(account, base)]),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise Permanent(f"cannot write: {error.strerror}", about=error.filename or str(out)) from error
    return [out / name for name in texts]


def _readme(domain: str, account: str) -> str:
    rows = "\n".join(f"| {one.name} | {one.about} | {ad_schema.ARC}.{one.number} |" for one in ad_schema.DEFINITIONS)
    return f"""\
# Mailferry's attributes in {domain}

Active Directory never forgets a schema extension: look at `{SCHEMA}` first, and try it in a test forest.

1. On the schema master, as a member of Schema Admins: `ldifde -i -k -f {SCHEMA} -j .` (or, from elsewhere,
   `ldapmodify -H ldaps://DC -D … -W -f {SCHEMA}`). `-k` passes over what is there already. If the forest's root
   domain is another than {domain}, add `-c "{domain}" "DC=…"`.
2. `{RIGHTS}` lets `{account}` write these attributes of people and groups, and nothing else (it has to
   be the account of `[coexist.exchange]`).
3. In mailferry.toml: `coexist.ad.write = true`. Nothing is written before.

| attribute | what it says | OID |
|---|---|---|
{rows}

They stand in the auxiliary class `{ad_schema.CLASS}`, which user and group get. Without an extension, name spare
attributes in `[coexist.ad]` instead.
"""
