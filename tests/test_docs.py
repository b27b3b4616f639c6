"""What the documents say is what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLIENTS = (ROOT / "server" / "CLIENTS.md").read_text()


def test_the_example_client_runs(repository: Path, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```", CLIENTS, re.M | re.S)
    assert example is not None
    script = tmp_path / "example.py"
    script.write_text(example[1])
    done = [
        subprocess.run(
            [sys.executable, script],
            cwd=repository,
            env={**os.environ, "PATH": str(Path(sys.executable).parent)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]
    assert "resumed: False" in done[0]
    assert "resumed: True" in done[1]
    assert "Where were we?" in done[1]


def test_the_readme_gives_the_commands_that_ci_runs() -> None:
    assert "python3 tests" in README
    assert "python3 tests" in (ROOT / ".ci" / "run").read_text()
