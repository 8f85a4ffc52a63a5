"""From the settings to the relay: a Postfix instance of its own beside the one between both sides. Opens nothing."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from mailferry.config.settings import Settings as Config
from mailferry.errors import ConfigError
from mailferry.ops.stack_places import endpoint, under
from mailferry.stack.file import Kit
from mailferry.stack.postfix.relay import Relay, based_on, files
from mailferry.stack.postfix.settings import Settings


def relay_settings(config: Config, postfix: Settings) -> Relay:
    """What the relay is to be. `postfix`: the one between both sides. ConfigError when a section is missing."""
    wanted = config.stack.relay if config.stack else None
    if wanted is None:
        raise ConfigError("it needs [stack.relay]", about="mailferry.toml", advice="see docs/relay.md")
    folders = (wanted.config_dir, wanted.queue_dir, wanted.data_dir)
    base = based_on(postfix, wanted.domains, wanted.listen, folders)
    return Relay(base, endpoint(wanted.to), wanted.min_free_mb << 20)


def kit(config: Config, postfix: Settings, root: Path | None) -> Kit:
    """Its kit, with everything below `root` if there is one."""
    relay = relay_settings(config, postfix)
    if root is not None:
        relay = replace(relay, base=rooted(relay.base, root, "postfix-relay.log"))
    start, stop, reload = commands(relay.base.config_dir)
    return Kit("relay", tuple(files(relay, reload)), start, stop)


def rooted(settings: Settings, root: Path, log: str) -> Settings:
    """The same instance of Postfix below a directory, logging into a file there."""
    return replace(
        settings,
        config_dir=under(root, settings.config_dir),
        queue_dir=under(root, settings.queue_dir),
        data_dir=under(root, settings.data_dir),
        log_file=root / "var/log" / log,
        logrotate_dir=under(root, settings.logrotate_dir),
        instances=tuple(under(root, one) for one in settings.instances),
    )


def commands(config_dir: Path) -> tuple[str, str, str]:
    """Shell commands that start, stop, and start or reload one instance of Postfix."""
    own = f"postfix -c {shlex.quote(str(config_dir))}"
    runs = f"{own} status 2> /dev/null"
    return f"{runs} || {own} start", f"! {runs} || {own} stop", f"if {runs}; then {own} reload; else {own} start; fi"
