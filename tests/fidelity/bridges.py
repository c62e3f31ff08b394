"""For which bridges a test holds."""

import pytest

# For a parameter that stands for stock a2wsgi: what is tested goes wrong there.
fails = pytest.mark.xfail(reason="stock a2wsgi", raises=(AssertionError, OSError), strict=True)


def either_bridge(stock: str = "stock") -> pytest.MarkDecorator:
    """The test passes with the gateway's bridge and fails with stock a2wsgi, of the fixture with this name."""
    return pytest.mark.parametrize("mounted", ["gateway", pytest.param(stock, marks=fails)], indirect=True)
