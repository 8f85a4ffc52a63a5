"""`mailferry stack render postfix`: its install.sh, run for real below a directory of the test's."""

from __future__ import annotations

import grp
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import process
from mailferry.stack.postfix.files import files
from mailferry.stack.postfix.settings import Settings
from tests.unit.test_stack_postfix import SETTINGS


@pytest.fixture
def root() -> Iterator[Path]:
    path = process.workspace("host")
    yield path
    shutil.rmtree(path)


def settings(root: Path) -> Settings:
    for name in ("queue", "data"):
        (root / name).mkdir()
    account = pwd.getpwnam("postfix")
    shutil.chown(root / "data", account.pw_uid, account.pw_gid)
    return replace(SETTINGS, config_dir=root / "etc", queue_dir=root / "queue", data_dir=root / "data")


def install(root: Path, wanted: Settings) -> subprocess.CompletedProcess[str]:
    """Render into a directory, and run its script; a reload leaves a line in `calls`."""
    kit = root / "kit"
    kit.mkdir(exist_ok=True)
    for file in files(wanted, f"echo reload >> {root}/calls"):
        (kit / file.name).write_bytes(file.content)
        (kit / file.name).chmod(file.mode)
    return subprocess.run([kit / "install.sh"], check=False, capture_output=True, text=True)


def test_a_host_is_installed_and_installed_again(root: Path) -> None:
    wanted = settings(root)
    done = install(root, wanted)
    assert (done.returncode, done.stderr) == (0, "")
    table = root / "etc" / "ldap-routes.cf"
    assert (table.stat().st_mode & 0o777, grp.getgrgid(table.stat().st_gid).gr_name) == (0o640, "postfix")
    assert install(root, wanted).returncode == 0
    assert not list((root / "etc").glob("*.before-*")), "nothing was new"
    assert install(root, replace(wanted, queue_days=30)).returncode == 0
    kept = list((root / "etc").glob("*.before-*"))
    assert [one.name.partition(".before-")[0] for one in kept] == ["main.cf"]
    assert b"maximal_queue_lifetime = 14d" in kept[0].read_bytes()
    assert (root / "calls").read_text() == "reload\n" * 3


def test_its_log_is_rotated(root: Path) -> None:
    log, rotations = root / "log" / "postfix.log", root / "logrotate.d"
    wanted = replace(settings(root), log_file=log, logrotate_dir=rotations)
    wanted = replace(
        wanted, listen=f"127.0.0.1:{process.free_port()}", listen_exchange=f"127.0.0.1:{process.free_port()}"
    )
    done = install(root, wanted)
    assert (done.returncode, done.stderr) == (0, "")
    own = ["postfix", "-c", str(root / "etc")]
    subprocess.run([*own, "start"], check=True, capture_output=True)
    try:
        command = ["logrotate", "--force", "--state", str(root / "state"), str(rotations / "mailferry-postfix")]
        subprocess.run(command, check=True, capture_output=True)
        deadline = time.monotonic() + 15
        while not log.exists() or "reload" not in log.read_text():  # Postfix writes on, into a new one
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "starting the Postfix mail system" in log.with_name("postfix.log.1").read_text()
    finally:
        subprocess.run([*own, "stop"], check=True, capture_output=True)


def test_what_postfix_does_not_understand_changes_nothing(root: Path) -> None:
    wanted = settings(root)
    assert install(root, wanted).returncode == 0
    before = {path.name: path.read_bytes() for path in (root / "etc").iterdir()}
    for name, wrong in (("main.cf", "no_such_parameter_at_all = 1\n"), ("master.cf", "25 inet n - n\n")):
        for file in files(wanted, "false"):
            (root / "kit" / file.name).write_bytes(file.content)
        with (root / "kit" / name).open("a") as stream:
            stream.write(wrong)
        done = subprocess.run([root / "kit" / "install.sh"], check=False, capture_output=True, text=True)
        assert done.returncode != 0 and done.stderr
    assert {path.name: path.read_bytes() for path in (root / "etc").iterdir()} == before
