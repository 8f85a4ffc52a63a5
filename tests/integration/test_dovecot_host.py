"""`mailferry stack render dovecot`: its install.sh, run for real below a directory of the test's."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import process
from mailferry.stack.dovecot.files import files
from mailferry.stack.dovecot.settings import Rspamd, Settings, Store
from mailferry.stack.postfix.settings import Endpoint
from tests.unit.test_stack_dovecot import PROXY, SETTINGS, STORE


@pytest.fixture
def root() -> Iterator[Path]:
    path = process.workspace("host")
    process.make_certificate(path / "tls")
    yield path
    shutil.rmtree(path)


def store_of(root: Path) -> Store:
    uid, gid = process.mail_owner()
    return replace(STORE, mail_dir=root / "mail", owner=(str(uid), str(gid)))


def settings(root: Path, store: Store | None = None) -> Settings:
    return replace(
        SETTINGS,
        store=store or store_of(root),
        certificate=root / "tls" / "cert.pem",
        key=root / "tls" / "key.pem",
        config_dir=root / "etc",
        base_dir=root / "run",
        state_dir=root / "state",
        log_file=root / "log" / "dovecot.log",
    )


def lay(root: Path, wanted: Settings) -> Path:
    kit = root / "kit"
    kit.mkdir(exist_ok=True)
    for file in files(wanted, f"echo reload >> {root}/calls", root / "logrotate.d" / "dovecot"):
        (kit / file.name).write_bytes(file.content)
        (kit / file.name).chmod(file.mode)
    return kit


def run(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([root / "kit" / "install.sh"], check=False, capture_output=True, text=True)


def install(root: Path, wanted: Settings) -> subprocess.CompletedProcess[str]:
    """Render into a directory, and run its script; a reload leaves a line in `calls`."""
    lay(root, wanted)
    return run(root)


def installed(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "etc").iterdir() if path.is_file()}


def test_a_host_is_installed_and_installed_again(root: Path) -> None:
    wanted = settings(root)
    done = install(root, wanted)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("ldap-people.conf.ext", "masters"):
        closed = root / "etc" / name
        assert (closed.stat().st_mode & 0o777, grp.getgrgid(closed.stat().st_gid).gr_name) == (0o640, "dovecot")
    place = (root / "mail").stat()
    assert (place.st_uid, place.st_mode & 0o777) == (process.mail_owner()[0], 0o750)
    checked = subprocess.run(["logrotate", "-d", root / "logrotate.d" / "dovecot"], capture_output=True, text=True)
    assert checked.returncode == 0 and "error" not in checked.stderr, checked.stderr
    before = installed(root)
    assert install(root, wanted).returncode == 0
    assert installed(root) == before, "nothing was new"
    assert install(root, replace(wanted, hostname="mail.acme.example")).returncode == 0
    kept = list((root / "etc").glob("*.before-*"))
    assert [one.name.partition(".before-")[0] for one in kept] == ["dovecot.conf"]
    assert b"hostname = imap.acme.example" in kept[0].read_bytes()
    assert (root / "calls").read_text() == "reload\n" * 3


def test_scripts_of_everybody_are_compiled(root: Path) -> None:
    store = replace(store_of(root), rspamd=Rspamd(Endpoint("127.0.0.1", 11334)))
    done = install(root, settings(root, store))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((root / "etc").glob("*.svbin"))) == 3
    assert os.access(root / "etc" / "pipe" / "rspamd-learn", os.X_OK)


def test_a_proxy_is_installed(root: Path) -> None:
    proxy = replace(PROXY, ca_file=root / "tls" / "cert.pem")
    done = install(root, replace(settings(root), store=None, proxy=proxy))
    assert (done.returncode, done.stderr) == (0, "")
    assert {"dovecot.conf", "places", "ldap-to-store.conf.ext", "ldap-to-exchange.conf.ext"} == installed(root).keys()
    assert not (root / "mail").exists()


def test_what_dovecot_does_not_understand_changes_nothing(root: Path) -> None:
    wanted = settings(root)
    assert install(root, wanted).returncode == 0
    before = installed(root)
    with (lay(root, wanted) / "dovecot.conf").open("a") as stream:
        stream.write("no_such_setting_at_all = 1\n")
    done = run(root)
    assert done.returncode != 0 and "no_such_setting_at_all" in done.stderr
    (root / "tls" / "key.pem").unlink()
    lay(root, wanted)
    done = run(root)
    assert done.returncode != 0 and "key.pem is missing" in done.stderr
    assert installed(root) == before
    assert (root / "calls").read_text() == "reload\n"
