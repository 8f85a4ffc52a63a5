"""Installs what the lab needs on Debian 12 or Ubuntu 24.04: `python -m lab.install [--bench]`.

Dovecot, Postfix, PostgreSQL, Samba and OpenLDAP are installed by apt-get, without starting a service or making an
instance.
Courier and Cyrus conflict with Dovecot's package, so they are only unpacked under CACHE (`.lab/` in the repository),
with the libraries the system lacks.
Invariant: instant and without root when all is present; no system server is started by it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import pst_samples


def _cache() -> Path:
    """`.lab/` in the repository; for root in a closed directory a place that the servers' own users can reach."""
    own = Path(__file__).resolve().parent.parent / ".lab"
    closed = any(not step.stat().st_mode & 0o001 for step in own.parents)
    return Path("/var/cache/mailferry-lab") if os.geteuid() == 0 and closed else own


CACHE = _cache()

_PACKAGES = {
    "dovecot-core": "/usr/sbin/dovecot",
    "dovecot-imapd": "/usr/lib/dovecot/imap",
    "dovecot-pop3d": "/usr/lib/dovecot/pop3",
    "openssl": "/usr/bin/openssl",
    "postgresql": "/usr/lib/postgresql/*/bin/initdb",
    "samba": "/usr/sbin/smbd",
    "samba-ad-dc": "/usr/sbin/samba",
    "samba-dsdb-modules": "/usr/lib/*/samba/ldb/samba_dsdb.so",
    "samba-ad-provision": "/usr/share/samba/setup/provision.ldif",
    "python3-samba": "/usr/lib/python3/dist-packages/samba/samdb.py",
    "winbind": "/usr/sbin/winbindd",
    "krb5-user": "/usr/bin/kinit",
    "libsasl2-modules-gssapi-mit": "/usr/lib/*/sasl2/libgssapiv2.so",
    "ldap-utils": "/usr/bin/ldapsearch",
    "slapd": "/usr/sbin/slapd",
    "postfix": "/usr/sbin/postfix",
    "postfix-ldap": "/usr/lib/postfix/postfix-ldap.so",
    "dovecot-lmtpd": "/usr/lib/dovecot/lmtp",
    "npm": "/usr/bin/npm",
    "pst-utils": "/usr/bin/readpst",
    "dovecot-ldap": "/usr/lib/dovecot/modules/auth/libauthdb_ldap.so",
    "dovecot-sieve": "/usr/lib/dovecot/modules/lib90_sieve_plugin.so",
    "dovecot-managesieved": "/usr/lib/dovecot/managesieve",
    "rspamd": "/usr/bin/rspamd",
    "logrotate": "/usr/sbin/logrotate",
    "ucspi-tcp": "/usr/bin/tcpserver",
}
_ANSWERS = ("slapd slapd/no_configuration boolean true", "postfix postfix/main_mailer_type select No configuration")
_BENCH_PACKAGES = {"isync": "/usr/bin/mbsync"}
_UNPACKED = {
    "courier": ("courier-imap", "courier-pop", "courier-base", "courier-authlib", "courier-authlib-ldap", "gamin"),
    "cyrus": ("cyrus-imapd", "cyrus-common", "libsasl2-modules"),
}
PST_SAMPLES = CACHE / "pst"
_POLICY = Path("/usr/sbin/policy-rc.d")


def main(argv: Sequence[str] | None = None) -> int:
    """Install what is missing; 0 on success, 1 with apt's own words on standard error otherwise."""
    parser = argparse.ArgumentParser(prog="python -m lab.install", description="install the lab's servers")
    parser.add_argument("--bench", action="store_true", help="also the peers that the benchmarks compare with")
    options = parser.parse_args(argv)
    try:
        install(bench=options.bench)
    except subprocess.CalledProcessError as error:
        print(f"lab.install: {' '.join(error.cmd)} failed ({error.returncode})", file=sys.stderr)
        return 1
    return 0


def install(*, bench: bool = False) -> None:
    """Install and unpack what is missing. Raises CalledProcessError when apt-get or dpkg fails."""
    wanted = _PACKAGES | (_BENCH_PACKAGES if bench else {})
    missing = [name for name, proof in wanted.items() if not list(Path("/").glob(proof.lstrip("/")))]
    unpack = {name: roots for name, roots in _UNPACKED.items() if not _unpacked(CACHE / name, roots)}
    if missing or unpack:
        _install(missing, unpack)
    if pst_samples.missing(PST_SAMPLES):
        print("lab.install: fetching PST and OST files")
        pst_samples.fetch(PST_SAMPLES)


def _install(missing: Sequence[str], unpack: Mapping[str, Sequence[str]]) -> None:
    _root(["apt-get", "update", "-qq"])
    if missing:
        print(f"lab.install: installing {' '.join(missing)}")
        for answer in _ANSWERS:
            _root(["sh", "-c", f"echo '{answer}' | debconf-set-selections"])
        with _no_services(), _no_postgres_cluster():
            _root(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing])
    for name, roots in unpack.items():
        print(f"lab.install: unpacking {' '.join(roots)} into {CACHE / name}")
        _unpack(CACHE / name, roots)


def _root(command: list[str]) -> None:
    """Run a command as root, with sudo when needed; dpkg asks no questions."""
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*prefix, *environment, *command], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _no_services() -> Iterator[None]:
    """While inside, package scripts start no service. A policy-rc.d that is there already is left alone."""
    if _POLICY.exists():
        before = _POLICY.read_text()
        if re.search(r"^\s*exit 101", before, re.MULTILINE):
            yield
            return
        raise SystemExit(f"lab.install: {_POLICY} exists and does not forbid services; install the packages yourself")
    _root(["sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {_POLICY} && chmod 755 {_POLICY}"])
    try:
        yield
    finally:
        _root(["rm", "-f", str(_POLICY)])


@contextmanager
def _no_postgres_cluster() -> Iterator[None]:
    """While inside, a newly installed PostgreSQL makes no cluster of its own. An existing configuration is kept."""
    conf = Path("/etc/postgresql-common/createcluster.conf")
    if conf.exists():
        yield
        return
    setting = "s/^#*create_main_cluster.*/create_main_cluster = {}/"
    _root(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql-common"])
    _root(["sed", "-i", setting.format("false"), str(conf)])
    try:
        yield
    finally:
        _root(["sed", "-i", setting.format("true"), str(conf)])


def _unpack(folder: Path, roots: Sequence[str]) -> None:
    """Unpack packages, and such of their libraries as the system lacks, into a folder, without installing them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o777)  # apt fetches as its own user
        queue, seen = list(roots), set[str]()
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            subprocess.run(["apt-get", "download", "-qq", name], cwd=scratch, check=True, stderr=subprocess.DEVNULL)
            package = next(Path(scratch).glob(f"{name}_*.deb"))
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
            queue += [library for library in _libraries(package) if not _installed(library)]
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    (folder / ".complete").write_text(" ".join(roots))


def _unpacked(folder: Path, roots: Sequence[str]) -> bool:
    """Whether just these packages have been unpacked there before."""
    mark = folder / ".complete"
    return mark.exists() and mark.read_text() == " ".join(roots)


def _libraries(package: Path) -> list[str]:
    """The shared-library packages that a .deb depends on (first of each alternative)."""
    text = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Depends"], check=True, capture_output=True, text=True
    ).stdout
    names = [re.split(r"[\s(:|]", part.strip(), maxsplit=1)[0] for part in text.split(",")]
    return [name for name in names if name.startswith("lib") and name != "libc6"]


def _installed(package: str) -> bool:
    state = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status}", package], check=False, capture_output=True, text=True
    )
    return state.returncode == 0 and state.stdout == "installed"


if __name__ == "__main__":
    raise SystemExit(main())
