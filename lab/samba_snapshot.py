"""Makes the database of the lab's domain controller once, and keeps it: acme.example with Exchange's schema.

Starts nothing. Invariant: a snapshot under CACHE is whole (it appears by one rename) and belongs to what made it: its
name holds a digest of these sources and of what was loaded into it.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import process
from lab.exchange_schema import schema_ldif
from lab.install import CACHE
from lab.process import PASSWORD

REALM = "ACME.EXAMPLE"
DOMAIN = "ACME"
HOST = "dc1.acme.example"
BASE = "DC=acme,DC=example"
READER = "mailferry-reader"

QUICK = {**os.environ, "TDB_NO_FSYNC": "1"}
"""The lab's directory need not survive a power cut."""

_SOURCES = ("samba_snapshot.py", "samba_bulk.py", "exchange_schema.py")


def snapshot(name: str = "empty", changes: Callable[[], str] | None = None, made_of: str = "") -> Path:
    """The directory of a provisioned controller, made when there is none. It is shared: copy it, never use it.

    `changes` gives LDIF change records to load on top of the empty domain; `made_of` is whatever else decides what
    they are (the source text of their generator).
    """
    digest = hashlib.sha256(made_of.encode())
    for source in _SOURCES:
        digest.update((Path(__file__).parent / source).read_bytes())
    kept = CACHE / f"samba-{name}-{digest.hexdigest()[:16]}"
    if kept.exists():
        return kept
    below = snapshot() if changes else None
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"samba-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():  # made by another worker while we waited
            return kept
        for old in CACHE.glob(f"samba-{name}-*"):
            shutil.rmtree(old)
        scratch = Path(tempfile.mkdtemp(prefix="making-", dir=CACHE))
        try:
            if below is not None and changes is not None:
                copy(below, scratch / "dc")
                load(scratch / "dc", [changes()], batch=True)
            else:
                _provision(scratch / "dc")
            (scratch / "dc").rename(kept)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return kept


def copy(source: Path, target: Path) -> None:
    """Copy a controller's files; `cp` because it makes sparse copies and keeps the extended attributes."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def load(root: Path, parts: Sequence[str], *, batch: bool = False) -> None:
    """Load LDIF change records into a controller's files, one transaction a part. LabError has Samba's words."""
    conf = root / "smb.conf"
    conf.write_text(render(root, "127.0.0.1"))
    script = Path(__file__).parent / "samba_bulk.py"
    done = subprocess.run(
        ["/usr/bin/python3", "-P", str(script), str(conf), *["--batch"] * batch],  # -P: not our samba.py
        input="# next\n".join(parts).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env=QUICK,
    )
    if done.returncode:
        raise process.LabError(f"Samba did not take the changes:\n{done.stdout.decode(errors='replace')[-2000:]}")


def render(root: Path, address: str) -> str:
    """smb.conf of a controller whose every file is below root and whose every socket is on that address."""
    return f"""\
[global]
realm = {REALM}
workgroup = {DOMAIN}
netbios name = {HOST.partition(".")[0].upper()}
server role = active directory domain controller
server services = ldap, kdc
interfaces = {address}/8
bind interfaces only = yes
private dir = {root}/private
state directory = {root}/state
cache directory = {root}/cache
lock directory = {root}/lock
pid directory = {root}/run
ncalrpc dir = {root}/ncalrpc
ntp signd socket directory = {root}/ntp_signd
winbindd socket directory = {root}/winbindd
usershare path =
logging = file
log file = {root}/samba.log
max log size = 0
ldap server require strong auth = no
tls enabled = yes
tls certfile = {root}/tls/cert.pem
tls keyfile = {root}/tls/key.pem
tls cafile = {root}/tls/cert.pem
dsdb:schema update allowed = yes
"""


def password_value(password: str) -> str:
    """unicodePwd as MS-ADTS 3.1.1.3.1.5 wants it: quoted, UTF-16; as base64 for LDIF."""
    return base64.b64encode(f'"{password}"'.encode("utf-16-le")).decode()


def _provision(root: Path) -> None:
    """An empty domain with Exchange's schema, no password rules, and the account that Mailferry reads with."""
    command = [
        *(process.binary("samba-tool"), "domain", "provision", f"--realm={REALM}", f"--domain={DOMAIN}"),
        *(f"--adminpass=Acme-{PASSWORD}-1", "--server-role=dc", "--dns-backend=NONE"),
        *(f"--host-name={HOST.partition('.')[0]}", "--host-ip=127.0.0.1", f"--targetdir={root}"),
        *("--option=interfaces=127.0.0.1/8", "--option=bind interfaces only=yes"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, env=QUICK)
    if done.returncode:
        raise process.LabError(f"samba-tool domain provision failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
    load(root, [*schema_ldif(BASE), _RULES, _ACCOUNTS])


_RULES = f"""\
dn: {BASE}
changetype: modify
replace: pwdProperties
pwdProperties: 0
-
replace: minPwdLength
minPwdLength: 0
-
replace: minPwdAge
minPwdAge: 0
-
replace: maxPwdAge
maxPwdAge: -9223372036854775808
-
replace: pwdHistoryLength
pwdHistoryLength: 0
-
"""

_ACCOUNTS = f"""\
dn: CN=Administrator,CN=Users,{BASE}
changetype: modify
replace: unicodePwd
unicodePwd:: {password_value(PASSWORD)}
-

dn: OU=Service Accounts,{BASE}
changetype: add
objectClass: organizationalUnit

dn: CN={READER},OU=Service Accounts,{BASE}
changetype: add
objectClass: user
sAMAccountName: {READER}
userPrincipalName: {READER}@{REALM.lower()}
displayName: Mailferry (reads the directory)
userAccountControl: 66048
unicodePwd:: {password_value(PASSWORD)}
"""
