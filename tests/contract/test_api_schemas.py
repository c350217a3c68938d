"""The vendors' own descriptions of their requests refuse what is wrong, so that what passes means something."""

from importlib import import_module

import pytest
from contract.test_api_channels import PROVIDERS

MODULES = [import_module(f"support.apicases.{name}") for name in PROVIDERS]
BROKEN = [
    pytest.param(module.SCHEMA, value, id=f"{module.CASE.name}-{number}")
    for module in MODULES
    for number, value in enumerate(getattr(module, "BROKEN", ()))
]


@pytest.mark.parametrize(("schema", "value"), BROKEN)
def test_a_request_that_the_vendor_would_not_take_is_refused(schema, value):
    """A missing recipient, a number in the wrong form, a field of the wrong type."""
    assert not schema.is_valid(value)
