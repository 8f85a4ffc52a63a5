"""A private Active Directory controller (Samba) for acme.example, with Exchange's schema, on an address of its own.

LDAP, LDAPS and Kerberos only: no DNS, no file service, no RPC. Every start is a copy of a cached snapshot. Samba is not
Microsoft's server: it takes passwords over plain LDAP, and gives all values of a large group unless asked for a range.
Invariant: nothing outside `root` is written; it runs as root, since its ports are below 1024.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import ldap
from ldap.dn import dn2str, escape_dn_chars, str2dn
from ldap.filter import escape_filter_chars

from lab import process
from lab.process import PASSWORD
from lab.samba_snapshot import BASE, HOST, QUICK, READER, REALM, copy, render, snapshot
from lab.server import Server

Values = str | bytes | Sequence[str | bytes]
Attributes = Mapping[str, Values]
NOTHING: Attributes = MappingProxyType({})

PORTS = (389, 636, 88, 464, 3268, 3269)
_numbers = itertools.count(1)


class Samba(Server):
    """One domain controller, with the domain `BASE` from a snapshot (the empty one, unless told).

    `admin_dn` may do everything; `reader_dn` is an ordinary account, as an administrator would make one for Mailferry.
    Both have PASSWORD, as have all lab accounts. `ca_file` verifies the certificate for `address` and HOST.
    """

    name = "samba"
    grace = 1

    def __init__(self, root: Path | str | None = None, *, content: Path | None = None) -> None:
        super().__init__(root)
        self.content = content
        self.address = ""
        self.base = BASE
        self.realm = REALM
        self.admin_dn = f"CN=Administrator,CN=Users,{BASE}"
        self.reader_dn = f"CN={READER},OU=Service Accounts,{BASE}"
        self.reader_principal = f"{READER}@{REALM}"
        self.directory = self.root / "dc"
        self.log_file = self.directory / "samba.log"
        self.ca_file = self.directory / "tls" / "cert.pem"
        self.krb5_conf = self.root / "krb5.conf"
        self._admin: ldap.ldapobject.LDAPObject | None = None

    @property
    def url(self) -> str:
        """Plain LDAP (StartTLS is offered)."""
        return f"ldap://{self.address}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://{self.address}"

    def _start(self) -> None:
        if not self.directory.exists():
            copy(self.content or snapshot(), self.directory)
        if not self.address:
            self.address = self.host = _free_address()
            shutil.rmtree(self.directory / "tls", ignore_errors=True)
            _, key = process.make_certificate(self.directory / "tls", f"IP:{self.address},DNS:{HOST}")
            key.chmod(0o600)
        for name in ("cache", "lock", "run", "ncalrpc", "ntp_signd", "winbindd"):
            (self.directory / name).mkdir(exist_ok=True)
        (self.directory / "smb.conf").write_text(render(self.directory, self.address))
        self.krb5_conf.write_text(_krb5_conf(self.root, self.address))
        out = self.directory / "samba.out"
        command = [process.binary("samba", "/usr/sbin/samba"), "-F", "-M", "single", "--no-process-group"]
        self._process = process.spawn([*command, "-s", str(self.directory / "smb.conf")], log=out, env=QUICK)
        process.wait_ready(self._answers, self._process, out, seconds=60)
        if not self.search(f"(servicePrincipalName=ldap/{self.address})"):  # Kerberos by address, as there is no DNS
            self.modify(f"CN=DC1,OU=Domain Controllers,{BASE}", add={"servicePrincipalName": [f"ldap/{self.address}"]})

    def halt(self) -> None:
        """End it, and keep everything, to be started again."""
        if self._admin is not None:
            self._admin.unbind_s()
            self._admin = None
        super().halt()

    @property
    def admin(self) -> ldap.ldapobject.LDAPObject:
        """The administrator's connection, over plain LDAP, opened when first needed."""
        if self._admin is None:
            self._admin = ldap.initialize(self.url)
            self._admin.set_option(ldap.OPT_REFERRALS, 0)
            self._admin.simple_bind_s(self.admin_dn, PASSWORD)
        return self._admin

    def search(self, where: str, attributes: Sequence[str] = ("*",)) -> list[tuple[str, dict[str, list[bytes]]]]:
        """(DN, attributes) of what the filter finds in the domain, as the administrator sees it."""
        found = self.admin.search_s(self.base, ldap.SCOPE_SUBTREE, where, list(attributes))
        return [(dn, values) for dn, values in found if dn is not None]

    def dn(self, account: str) -> str:
        """The DN of who has that sAMAccountName. Raises LabError when nobody has."""
        found = self.search(f"(sAMAccountName={escape_filter_chars(account)})", ["cn"])
        if not found:
            raise process.LabError(f"no account {account}")
        return found[0][0]

    def add(self, dn: str, attributes: Attributes) -> None:
        """Add an entry; values are text or bytes, one or many."""
        self.admin.add_s(dn, [(name, _octets(values)) for name, values in attributes.items()])

    def add_user(self, account: str, *, parent: str = f"CN=Users,{BASE}", **attributes: Values) -> str:
        """Add an enabled person with PASSWORD and a primary address, named `account` unless `cn` is given; its DN."""
        name = attributes.pop("cn", account)
        dn = f"CN={escape_dn_chars(str(name))},{parent}"
        mail = f"{account}@{REALM.lower()}"
        common: dict[str, Values] = {
            "objectClass": "user",
            "sAMAccountName": account,
            "userPrincipalName": mail,
            "userAccountControl": "512",
            "unicodePwd": f'"{PASSWORD}"'.encode("utf-16-le"),
            "displayName": name,
            "sn": name,
            "mailNickname": account,
            "mail": mail,
            "proxyAddresses": f"SMTP:{mail}",
            "legacyExchangeDN": f"/o=Acme/ou=First Administrative Group/cn=Recipients/cn={account}",
            "msExchMailboxGuid": uuid.uuid4().bytes_le,
            "msExchRecipientTypeDetails": "1",
        }
        self.add(dn, common | attributes)
        return dn

    def modify(
        self,
        dn: str,
        *,
        replace: Attributes = NOTHING,
        add: Attributes = NOTHING,
        delete: Attributes = NOTHING,
    ) -> None:
        """Change attributes; to replace by no value, or to delete none in particular (`()`), removes the attribute."""
        changes = [
            (operation, name, _octets(values) or None)
            for operation, wanted in ((ldap.MOD_DELETE, delete), (ldap.MOD_ADD, add), (ldap.MOD_REPLACE, replace))
            for name, values in wanted.items()
        ]
        self.admin.modify_s(dn, changes)

    def extend(self, ldif: bytes) -> None:
        """Change it, or its schema, by LDIF, as its administrator. LabError has ldapmodify's words."""
        command = [process.binary("ldapmodify"), "-x", "-H", self.url, "-D", self.admin_dn, "-w", PASSWORD]
        done = subprocess.run(command, input=ldif, capture_output=True, check=False)
        if done.returncode:
            raise process.LabError(done.stderr.decode())

    def rename(self, dn: str, name: str) -> str:
        """Give an entry another common name, where it is; its new DN."""
        return self._place(dn, f"CN={escape_dn_chars(name)}", _split(dn)[1])

    def move(self, dn: str, parent: str) -> str:
        """Put an entry elsewhere under its name; its new DN."""
        return self._place(dn, _split(dn)[0], parent)

    def delete(self, dn: str) -> None:
        """Delete an entry; a tombstone stays in Deleted Objects."""
        self.admin.delete_s(dn)

    def set_password(self, dn: str, password: str) -> None:
        self.modify(dn, replace={"unicodePwd": f'"{password}"'.encode("utf-16-le")})

    def set_enabled(self, dn: str, enabled: bool) -> None:
        """Switch an account on or off (userAccountControl)."""
        self.modify(dn, replace={"userAccountControl": "512" if enabled else "514"})

    def kerberos(self, principal: str = "", password: str = PASSWORD) -> dict[str, str]:
        """Get a ticket (the reader's, unless told); the environment that makes GSSAPI use it, with SASL_NOCANON on."""
        cache = f"FILE:{self.root}/krb5cc"
        environment = {"KRB5_CONFIG": str(self.krb5_conf), "KRB5CCNAME": cache}
        command = [process.binary("kinit"), principal or self.reader_principal]
        done = subprocess.run(
            command, input=f"{password}\n", capture_output=True, text=True, check=False, env=os.environ | environment
        )
        if done.returncode:
            raise process.LabError(done.stderr.strip())
        return environment

    def _place(self, dn: str, name: str, parent: str) -> str:
        self.admin.rename_s(dn, name, parent)
        placed: str = self.admin.search_s(f"{name},{parent}", ldap.SCOPE_BASE, attrlist=["cn"])[0][0]
        return placed  # in the server's own spelling

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 389), timeout=1):
                pass
            probe = ldap.initialize(self.url)
            probe.set_option(ldap.OPT_NETWORK_TIMEOUT, 1)
            probe.set_option(ldap.OPT_TIMEOUT, 5)
            probe.simple_bind_s(self.reader_dn, PASSWORD)
            probe.unbind_s()
        except (OSError, ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.BUSY, ldap.UNAVAILABLE):
            return False
        return True


def _octets(values: Values) -> list[bytes]:
    many = [values] if isinstance(values, str | bytes) else values
    return [value.encode() if isinstance(value, str) else value for value in many]


def _split(dn: str) -> tuple[str, str]:
    """The first name of a DN, and the rest."""
    parts = str2dn(dn)
    return dn2str(parts[:1]), dn2str(parts[1:])


def _free_address() -> str:
    """An address of 127/8 on which all ports of a controller are free; other processes try others first."""
    pid = os.getpid()
    while True:
        address = f"127.{16 + pid % 200}.{pid // 200 % 250}.{next(_numbers) % 250 + 1}"
        try:
            for port in PORTS:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
        except OSError as error:
            if isinstance(error, PermissionError):
                raise process.LabError("the lab's domain controller needs ports below 1024: run as root") from error
            continue
        return address


def _krb5_conf(root: Path, address: str) -> str:
    return f"""\
[libdefaults]
default_realm = {REALM}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
default_ccache_name = FILE:{root}/krb5cc
[realms]
{REALM} = {{
  kdc = {address}:88
}}
"""
