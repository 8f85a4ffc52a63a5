"""`mailferry stack render openldap`: its install.sh, run for real below a directory of the test's."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import ldap
import pytest

from lab import process
from lab.ldap_people import as_modlist, person
from lab.openldap import LOOKUP_PASSWORD, OpenLdap
from mailferry.secret import Secret
from mailferry.stack.openldap import run
from mailferry.stack.openldap.files import Host, files
from mailferry.stack.openldap.settings import Role, Settings, Tls


class Installed:
    """A host below a directory of its own, made by install.sh; its slapd runs as the user that Debian made for it."""

    def __init__(self, provider: OpenLdap | None = None) -> None:
        self.root = process.workspace("host")
        certificate, key = process.make_certificate(self.root / "tls")
        key.chmod(0o644)
        secret = Secret("host-pw")
        self.settings = Settings(
            suffix="dc=acme,dc=example",
            config_dir=self.root / "etc" / "slapd.d",
            data_dir=self.root / "data",
            run_dir=self.root / "run",
            admin=secret,
            writer=secret,
            replicator=provider.settings.replicator if provider else secret,
            lookup=secret,
            role=Role.REPLICA if provider else Role.PROVIDER,
            provider=provider.url if provider else "",
            tls=Tls(certificate, key, provider.ca_file if provider else certificate),
        )
        self.kit = self.root / "kit"
        self.calls = self.root / "calls"
        self.defaults = self.root / "etc" / "default"
        for folder in (self.kit, self.defaults.parent):
            folder.mkdir()
        stop, start = (f"echo {word} >> {self.calls}" for word in ("stop", "start"))
        for file in files(self.settings, Host(defaults=self.defaults, stop=stop, start=start)):
            (self.kit / file.name).write_bytes(file.content)
            (self.kit / file.name).chmod(file.mode)
        self._running: subprocess.Popen[bytes] | None = None

    def install(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.kit / "install.sh"], check=False, capture_output=True, text=True)

    def start(self, dn: str) -> ldap.ldapobject.LDAPObject:
        """Start slapd with the start-up settings that were installed, and log in over the socket."""
        command = f". {self.defaults}; exec {run.program('slapd')} -d 0 -h {self.settings.ldapi} -F $SLAPD_CONF"
        user = pwd.getpwnam("openldap")
        log = self.root / "log"
        self._running = process.spawn(["sh", "-c", command], log=log, user=(user.pw_uid, user.pw_gid))
        connection = ldap.initialize(self.settings.ldapi)

        def answers() -> bool:
            try:
                connection.search_s("", ldap.SCOPE_BASE)
            except ldap.SERVER_DOWN:
                return False
            return True

        process.wait_ready(answers, self._running, log)
        connection.simple_bind_s(dn, "host-pw" if self.settings.role is Role.PROVIDER else LOOKUP_PASSWORD)
        return connection

    def halt(self) -> None:
        if self._running is not None:
            process.stop(self._running)
            self._running = None

    def configurations(self) -> int:
        return len(list(self.settings.config_dir.parent.glob("slapd.d*")))


@pytest.fixture
def installed() -> Iterator[Callable[[OpenLdap | None], Installed]]:
    """Makes hosts, and removes them."""
    made: list[Installed] = []

    def make(provider: OpenLdap | None) -> Installed:
        made.append(Installed(provider))
        return made[-1]

    yield make
    for one in made:
        one.halt()
        shutil.rmtree(one.root)


def test_the_files_of_a_host_install_and_install_again(
    installed: Callable[[OpenLdap | None], Installed],
) -> None:
    host = installed(None)
    entry = person(host.settings.suffix, "lasting")
    assert host.install().returncode == 0
    host.start(host.settings.writer_dn).add_s(entry[0], as_modlist(entry))
    host.halt()
    assert host.install().returncode == 0
    assert host.start(host.settings.writer_dn).search_s(entry[0], ldap.SCOPE_BASE)
    assert host.configurations() == 2, "the former one is kept"
    assert host.calls.read_text().split() == ["stop", "start"] * 2

    (host.kit / "config.ldif").write_text("dn: cn=config\nobjectClass: olcGlobal\ncn: config\nolcNonsense: 1\n")
    refused = host.install()
    assert refused.returncode != 0
    assert "olcNonsense" in refused.stderr
    assert host.calls.read_text().split() == ["stop", "start"] * 2, "the server runs as before"
    assert host.configurations() == 2


def test_a_replica_begins_with_a_seed(
    own_openldap: OpenLdap, installed: Callable[[OpenLdap | None], Installed]
) -> None:
    """What the provider gave to a file is there without the provider; what came later follows."""
    provider = own_openldap
    dn = provider.add(person(provider.suffix, "seeded"))
    host = installed(provider)
    copied = ["-n", "1", "-F", str(provider.settings.config_dir), "-l", str(host.kit / "seed.ldif")]
    subprocess.run([run.program("slapcat"), *copied], check=True)
    later = provider.add(person(provider.suffix, "later"))
    provider.halt()
    assert host.install().returncode == 0
    lookup = host.start(host.settings.lookup_dn)
    assert lookup.search_s(dn, ldap.SCOPE_BASE)
    with pytest.raises(ldap.NO_SUCH_OBJECT):
        lookup.search_s(later, ldap.SCOPE_BASE)
    provider.start()
    deadline = time.monotonic() + 20
    while len(lookup.search_s(host.settings.branch("people"), ldap.SCOPE_ONELEVEL)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
