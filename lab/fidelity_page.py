"""The text of docs/fidelity.md from the results of a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.fidelity import Case


def page(cases: Sequence[Case]) -> str:
    return ""
