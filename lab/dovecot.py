"""A private Dovecot on loopback: IMAP, IMAPS, POP3 and LMTP over Maildir, posing as Exchange or as the open side.

It does not imitate Exchange's bugs, only what Exchange offers: the capability line, the separator `/`, no special-use
attributes. Commands that are not advertised still work when sent; a client that uses them is at fault, not the lab.
Invariant: nothing outside `root` is read or written except the Debian binaries and modules.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from lab import process
from lab.process import PASSWORD
from lab.server import Server

Flavour = Literal["open", "exchange"]
Layout = Literal["maildir++", "fs"]

MASTER = "admin"
MASTER_PASSWORD = "ferry-admin"

EXCHANGE_CAPABILITY = "IMAP4 IMAP4rev1 IDLE NAMESPACE LITERAL+ SASL-IR UIDPLUS CHILDREN"
"""As knowledge/imap.md lists them; Dovecot itself adds STARTTLS and AUTH= before login."""

_OPEN_FOLDERS = {
    "Drafts": "\\Drafts",
    "Junk": "\\Junk",
    "Trash": "\\Trash",
    "Sent": "\\Sent",
    "Archive": "\\Archive",
}


class Dovecot(Server):
    """One Dovecot instance.

    Any user name logs in with PASSWORD, but those in `passwords`, who have their own. `users` and u0..u99 can also be
    reached by the master user: SASL PLAIN with authzid, `user*admin`, `LAB\\admin\\user` and `admin@lab\\user`.
    `lmtp`: it takes mail for any user on `lmtp_port`. `quota` maps users to bytes; None leaves the quota plugin out.
    `settings` is added to dovecot.conf as it is.
    """

    name = "dovecot"

    def __init__(
        self,
        root: Path | str | None = None,
        flavour: Flavour = "open",
        *,
        users: Iterable[str] = (),
        passwords: Mapping[str, str] | None = None,
        quota: Mapping[str, int] | None = None,
        layout: Layout | None = None,
        separator: str | None = None,
        capability: str | None = None,
        owner: tuple[int, int] | None = None,
        plugins: bool = True,
        lmtp: bool = False,
        settings: str = "",
    ) -> None:
        super().__init__(root)
        self.flavour = flavour
        self.passwords = dict(passwords or {})
        self.users = tuple(dict.fromkeys([*users, *self.passwords, *(f"u{n}" for n in range(100))]))
        self.quota = dict(quota or {})
        self.layout: Layout = layout or ("fs" if flavour == "exchange" else "maildir++")
        self.separator = separator or ("/" if flavour == "exchange" else ".")
        self.capability = capability or (EXCHANGE_CAPABILITY if flavour == "exchange" else "")
        self.owner = owner or process.mail_owner()
        self.plugins = plugins
        self.lmtp = lmtp
        self.settings = settings
        self.port = self.tls_port = self.pop3_port = self.lmtp_port = 0
        self.config_file = self.root / "dovecot.conf"
        self.ca_file = self.root / "tls" / "cert.pem"

    def _start(self) -> None:
        if not self.ca_file.exists():
            process.make_certificate(self.root / "tls")
        mail = self.root / "mail"
        mail.mkdir(exist_ok=True)
        os.chown(mail, *self.owner)
        self.write_users()
        for attempt in range(3):
            if not self.port or attempt:
                self.port, self.tls_port, self.pop3_port, self.lmtp_port = (process.free_port() for _ in range(4))
            self.config_file.write_text(self.render())
            started = process.spawn(
                [process.binary("dovecot", "/usr/sbin/dovecot"), "-F", "-c", str(self.config_file)],
                log=self.root / "dovecot.out",
                env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin"), "HOME": str(self.root)},
            )
            try:
                process.wait_ready(lambda: process.greets(self.port), started, self.root / "dovecot.out")
            except process.LabError as error:
                said = f"{error}{self.log()}"
                if attempt == 2 or not ("in use" in said or "duplicate listener" in said):
                    raise
                continue
            self._process = started
            break

    def maildir(self, user: str) -> Path:
        """The root of that user's Maildir (it need not exist)."""
        return self.root / "mail" / user / "Maildir"

    def doveadm(self, *args: str, check: bool = True) -> str:
        """Run doveadm on this instance and return its standard output."""
        done = subprocess.run(
            [process.binary("doveadm"), "-c", str(self.config_file), *args],
            check=False,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise process.LabError(f"doveadm {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def set_quota(self, user: str, size: int) -> None:
        """Give the user a quota of `size` bytes, in force (from the next login on) when this returns."""
        self.quota[user] = size
        self.write_users()
        if self._process is None:
            return
        # Dovecot looks at a changed password file once a second.
        deadline = time.monotonic() + 5
        while f"bytes={size}" not in self.doveadm("user", "-f", "quota_rule", user, check=False):
            if time.monotonic() > deadline:
                raise process.LabError(f"Dovecot does not take the new quota of {user}")
            time.sleep(0.05)

    def write_users(self) -> None:
        """Write the password files; a running Dovecot takes changes within a second."""
        own = [f"{user}:{{PLAIN}}{password}" for user, password in self.passwords.items()]
        (self.root / "users").write_text("".join(f"{line}\n" for line in own))
        masters = [f"{MASTER}:{{PLAIN}}{MASTER_PASSWORD}"]
        (self.root / "masters").write_text("".join(f"{line}\n" for line in masters))
        delegated = [  # Dovecot looks a name up with its backslashes doubled
            f"{prefix}\\\\{user}:{{PLAIN}}{MASTER_PASSWORD}::::::user={user}"
            for user in self.users
            for prefix in (f"LAB\\\\{MASTER}", f"{MASTER}@lab")
        ]
        (self.root / "delegated").write_text("".join(f"{line}\n" for line in delegated))
        limits = [f"{user}:::::::userdb_quota_rule=*:bytes={size}" for user, size in self.quota.items()]
        (self.root / "limits").write_text("".join(f"{line}\n" for line in limits))

    def render(self) -> str:
        """The text of dovecot.conf."""
        root, me = self.root, pwd.getpwuid(os.geteuid()).pw_name
        layout = ":LAYOUT=fs" if self.layout == "fs" else ""
        plugins = {"mail": "", "imap": "imap_zlib"}
        if self.plugins:
            plugins = {"mail": "acl quota", "imap": "acl quota imap_acl imap_quota imap_zlib"}
        if self.flavour == "exchange":
            plugins["imap"] = plugins["mail"]
        special = "".join(
            f"  mailbox {name} {{\n    special_use = {use}\n    auto = no\n  }}\n"
            for name, use in _OPEN_FOLDERS.items()
            if self.flavour == "open"
        )
        # As another user than root, every service runs as that user and none can chroot.
        internal = "" if os.geteuid() == 0 else f"default_internal_user = {me}\ndefault_login_user = {me}\n"
        internal += "" if os.geteuid() == 0 else f"default_internal_group = {grp.getgrgid(os.getegid()).gr_name}\n"
        chroot = "" if os.geteuid() == 0 else "  chroot =\n"
        not_own = " ".join(f"!{user}" for user in self.passwords)
        return f"""\
base_dir = {root}/run
state_dir = {root}/state
instance_name = {root.name}
log_path = {self.log_file}
{internal}protocols = imap pop3{" lmtp" if self.lmtp else ""}
listen = 127.0.0.1
ssl = yes
ssl_cert = <{root}/tls/cert.pem
ssl_key = <{root}/tls/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_chars =
auth_username_format =
auth_failure_delay = 0
auth_master_user_separator = *
auth_cache_size = 0
login_trusted_networks =
mail_uid = {self.owner[0]}
mail_gid = {self.owner[1]}
first_valid_uid = 1
first_valid_gid = 0
mail_home = {root}/mail/%u
mail_location = maildir:~/Maildir{layout}
mail_plugins = {plugins["mail"]}
mail_attribute_dict = file:%h/dovecot-attributes
mail_max_userip_connections = 0
default_client_limit = 20000
default_process_limit = 2000
default_vsz_limit = 0
imap_capability = {self.capability}
lda_mailbox_autocreate = no
namespace inbox {{
  inbox = yes
  separator = {self.separator}
{special}}}
passdb {{
  driver = passwd-file
  args = username_format=%u {root}/masters
  master = yes
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {root}/delegated
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {root}/users
}}
passdb {{
  driver = static
  args = password={PASSWORD}
  username_filter = {not_own or "*"}
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {root}/limits
  default_fields = uid={self.owner[0]} gid={self.owner[1]} home={root}/mail/%u
}}
userdb {{
  driver = static
  args = uid={self.owner[0]} gid={self.owner[1]} home={root}/mail/%u{" allow_all_users=yes" if self.lmtp else ""}
}}
protocol imap {{
  mail_plugins = {plugins["imap"]}
  imap_metadata = {"yes" if self.flavour == "open" else "no"}
  mail_max_userip_connections = 0
}}
protocol pop3 {{
  mail_max_userip_connections = 0
  pop3_uidl_format = %08Xu%08Xv
}}
plugin {{
  acl = vfile
  acl_user = %u
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 0
  quota_max_mail_size = 0
}}
service anvil {{
{chroot}  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
{chroot}  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port}
    ssl = yes
  }}
}}
service pop3-login {{
{chroot}  service_count = 0
  inet_listener pop3 {{
    port = {self.pop3_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
{self._lmtp()}service imap {{
  process_limit = 2000
}}
service stats {{
{chroot}  client_limit = 20000
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
{self.settings}
"""

    def _lmtp(self) -> str:
        if not self.lmtp:
            return ""
        return f"service lmtp {{\n  inet_listener lmtp {{\n    port = {self.lmtp_port}\n  }}\n}}\n"
