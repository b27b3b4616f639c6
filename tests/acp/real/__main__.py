"""`python -m tests.acp.real`: the tests with all real agents that speak ACP.

Arguments go to pytest.
"""

import sys

from tests.agents.real.running import run_everything

if __name__ == "__main__":
    sys.exit(run_everything("tests/acp/test_real_acp_agents.py"))
