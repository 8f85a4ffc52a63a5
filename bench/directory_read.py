"""`python -m bench.directory_read MAILFERRY_TOML`: read the source as `directory sync` does, and count."""

from __future__ import annotations

import sys
from pathlib import Path

from mailferry.config.settings import directory_settings
from mailferry.model.recipient import Recipient
from mailferry.ops.directory import reader_of


def main() -> None:
    _, settings = directory_settings(Path(sys.argv[1]))
    with reader_of(settings.source) as reader:
        print(sum(isinstance(one, Recipient) for one in reader.read()))


if __name__ == "__main__":
    main()
