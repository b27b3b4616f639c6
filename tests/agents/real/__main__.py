"""`python -m tests.agents.real`: the tests with all real agents, also those of 400 MB each.

Arguments go to pytest.
"""

import sys

from tests.agents.real.running import run_everything

if __name__ == "__main__":
    sys.exit(run_everything("tests/agents/test_real_agents.py"))
