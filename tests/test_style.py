"""Rules of the source that no linter checks."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUPPRESSION = re.compile(
    r"#\s*(?:type: ignore(?:\[[\w,\s-]+\])?|noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?)"
)
SOURCES = [
    *sorted(ROOT.glob(".ci/*.py")),
    *sorted(ROOT.glob("editors/vscode/*.py")),
    *(
        path
        for folder in ("server/segue", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"node_modules", ".installed", ".venv", ".vscode"} & set(path.parts)
    ),
]


def without_reason(source: str) -> list[str]:
    """Return the lines whose last suppression of a checker is followed by no reason."""
    found = []
    for line in source.splitlines():
        suppressions = list(SUPPRESSION.finditer(line))
        if suppressions and len(line[suppressions[-1].end() :].strip(" #")) < 8:
            found.append(line.strip())
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_suppression_has_its_reason(path: Path) -> None:
    assert without_reason(path.read_text(encoding="utf-8")) == []


def test_a_suppression_without_a_reason_is_found() -> None:
    marker = "# type: " + "ignore[arg-type]"
    assert without_reason(f"call(1)  {marker}") == [f"call(1)  {marker}"]
    assert without_reason(f"call(1)  {marker}  # the library takes any number") == []
    assert without_reason("call(1)  # no" + "qa: S101") == ["call(1)  # no" + "qa: S101"]
