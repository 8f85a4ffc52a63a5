"""What a pass has done so far, as numbers. Does not show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Counts:
    """Counters of one mailbox pass, or sums of them.

    Law 2 reads: `listed == copied + there + excluded + failed` once a pass is complete. `listed`: messages in the
    source's listing. `copied`: sent and confirmed in this pass. `there`: done in earlier passes, or adopted. `bytes`:
    of the copied ones. `flags`, `gone`, `moved`, `removed`: changes of the source that were seen. `different`:
    carried with a difference. `twins`: removed doubles of a killed run. `broken`, `stops`: folders that could not be
    opened, and that were left alone for safety.
    """

    folders: int = 0
    listed: int = 0
    copied: int = 0
    there: int = 0
    adopted: int = 0
    excluded: int = 0
    failed: int = 0
    bytes: int = 0
    flags: int = 0
    gone: int = 0
    moved: int = 0
    removed: int = 0
    different: int = 0
    twins: int = 0
    broken: int = 0
    stops: int = 0

    @property
    def done(self) -> int:
        """Listed messages that need nothing more in this pass."""
        return self.copied + self.there + self.excluded + self.failed

    @property
    def balanced(self) -> bool:
        return self.listed == self.done

    def add(self, other: Counts) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)
