"""Command lines of those who try a policy: a mistake is one line and exit status 2.

Public: `CommandLine`. What can go wrong: SystemExit.
"""

from __future__ import annotations

import argparse
from typing import NoReturn


class CommandLine(argparse.ArgumentParser):
    """Says what is wrong and where help is; argparse would print the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        """Exits with 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")
