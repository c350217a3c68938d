"""What a start loads: each process, and each command, only what it works with."""

import json
import subprocess
import sys

import pytest

#: What carries mail, reads secrets and draws pictures; each takes memory and a part of a second.
HEAVY = (
    *("rocksdict", "hvac", "requests", "treq", "resvg_py", "rich", "kumotwist.lua", "kumotwist.trial"),
    *("kumotwist.egress.esmtp", "kumotwist.egress.push", "kumotwist.egress.esp", "kumotwist.egress.sms.smpp.link"),
)


def loaded_by(module: str) -> set[str]:
    """The heavy modules that a process has after importing `module`."""
    program = f"import json, sys, {module}; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("kumotwist.service.main", set()),
        ("kumotwist.service.tap", set()),
        ("kumotwist.service.workerservice", {"rocksdict", "treq", "kumotwist.lua"}),
        ("kumotwist.service.offline", {"treq", "kumotwist.lua"}),
        ("kumotwist.service.tryout", {"treq", "kumotwist.lua", "kumotwist.trial"}),
    ],
)
def test_a_process_loads_only_what_it_works_with(module, expected):
    """The supervisor runs no policy, a worker tries nothing out; Vault and channels come with their use."""
    assert loaded_by(module) == expected
