"""What came of a run: its cases, and the lines of the policies that ran.

Public: `Outcome`, `Result`, `FileLines`, `shortened`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from kumotwist.lua.coverage import Lines, lines_of
from kumotwist.lua.engine import EXTRAS

#: Where modules live that are not the user's: our helpers, KumoMTA's, and those of the system's packages.
_OF_OTHERS: Final = (f"{EXTRAS}/", "/opt/kumomta/share/", "/usr/share/lua/", "/usr/local/share/lua/")


@define
class Outcome:
    """What became of one case; `place` is `file:line` and `log` what the policy logged, when it failed."""

    file: str
    name: str
    seconds: float = 0.0
    failure: str = ""
    place: str = ""
    log: list[str] = field(factory=list)

    @property
    def has_passed(self) -> bool:
        """Whether all was as expected."""
        return not self.failure


@define
class FileLines:
    """The lines of one file, and in how many cases each of them ran."""

    lines: Lines
    hits: Counter[int] = field(factory=Counter)

    @property
    def executable(self) -> frozenset[int]:
        """Those that can run."""
        return self.lines.executable

    @property
    def covered(self) -> set[int]:
        """Those that did."""
        return set(self.hits)

    @property
    def missing(self) -> list[int]:
        """Those that did not, in order."""
        return sorted(self.executable - self.covered)


@define
class Result:
    """All cases, and the lines by file of the policies and their modules."""

    outcomes: list[Outcome] = field(factory=list)
    files: dict[str, FileLines] = field(factory=dict)

    @property
    def has_passed(self) -> bool:
        """Whether every case did."""
        return all(one.has_passed for one in self.outcomes)

    @property
    def failed(self) -> int:
        """How many cases did not."""
        return sum(not one.has_passed for one in self.outcomes)

    @property
    def share(self) -> float:
        """Per cent of all lines that ran."""
        lines = sum(len(one.executable) for one in self.files.values())
        return 100.0 * sum(len(one.hits) for one in self.files.values()) / lines if lines else 100.0

    def cover(self, noted: Mapping[str, Sequence[int]]) -> None:
        """Add what Lua came to in one case, by file."""
        for file, numbers in noted.items():
            if not file.startswith(_OF_OTHERS):
                name = shortened(Path(file))
                if name not in self.files:
                    self.files[name] = FileLines(lines_of(Path(file)))
                known = self.files[name]
                known.hits.update(known.lines.ran(numbers))


def shortened(path: Path) -> str:
    """A path as people at this directory write it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
