"""docs/extensions.md speaks of the versions that are tested."""

import re
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extensions.md"


def test_versions_in_the_table_are_those_installed() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)

    assert len(rows) >= 18
    assert dict(rows) == {name: version(name) for name, _ in rows}
