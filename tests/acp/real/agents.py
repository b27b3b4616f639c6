"""The real agents that speak ACP, each with the model of the tests."""

import attrs

from tests.agents.real.agents import ANY_KEY, CLAUDE_CODE, CODEX, COPILOT, GEMINI, Place, Program
from tests.agents.real.agents import write as write_settings


@attrs.frozen(kw_only=True)
class AcpAgent(Program):
    """An agent that a client of ACP can start."""

    arguments: tuple[str, ...] = ()
    title: str
    """What it says that it is called."""
    keeps: bool = True
    """Whether it always has its conversations still when they are loaded."""

    replays_all: bool = True
    """Whether it replays then all that it has said."""
    compared: tuple[str, ...] = ("title", "kind", "status", "rawInput", "rawOutput", "content")
    """What its replay tells of a call as it has told it before."""
    asks: bool = True
    """Whether it asks before it runs a command."""
    tells_results: bool = True
    """Whether it tells what a command has printed."""

    @property
    def loads(self) -> tuple[str, ...]:
        """What Segue may say of a load of its own conversation."""
        return ("theirs",) if self.keeps else ("revived", "theirs")


GEMINI_ACP = AcpAgent(
    name=GEMINI.name,
    source=GEMINI.source,
    command=GEMINI.command,
    arguments=("--acp",),
    megabytes=GEMINI.megabytes,
    is_in_gate=True,
    environment=GEMINI.environment,
    prepare=GEMINI.prepare,
    title="Gemini CLI",
    keeps=False,  # 0.61.0 loses most of them
    tells_results=False,
)

COPILOT_ACP = AcpAgent(
    name=COPILOT.name,
    source=COPILOT.source,
    command=COPILOT.command,
    arguments=("--acp",),
    megabytes=COPILOT.megabytes,
    is_in_gate=True,
    # With COPILOT_ALLOW_ALL it asks for no permission.
    environment=lambda place: {
        key: value
        for key, value in COPILOT.environment(place).items()
        if key != "COPILOT_ALLOW_ALL"
    },
    title="Copilot",
)

CLAUDE_AGENT = AcpAgent(
    name="claude-agent-acp",
    source=CLAUDE_CODE.source,
    command="claude-agent-acp",
    megabytes=591,
    environment=CLAUDE_CODE.environment,
    prepare=CLAUDE_CODE.prepare,
    title="Claude Agent",
)

CODEX_ACP = AcpAgent(
    name="codex-acp",
    source=CODEX.source,
    command="codex-acp",
    megabytes=457,
    environment=CODEX.environment,
    prepare=CODEX.prepare,
    title="Codex",
    replays_all=False,  # it leaves out its warnings, and has terminals that are gone
    asks=False,
)


# -- OpenCode --------------------------------------------------------------------------------------


def _opencode_settings(place: Place) -> None:
    write_settings(
        place.home / "opencode.json",
        {
            "autoupdate": False,
            "share": "disabled",
            "model": "tests/some-model",
            "permission": {"bash": "ask"},
            "provider": {
                "tests": {
                    "npm": "@ai-sdk/openai-compatible",
                    "options": {"baseURL": f"{place.model}/v1", "apiKey": ANY_KEY},
                    "models": {"some-model": {"tool_call": True}},
                }
            },
        },
    )


OPENCODE = AcpAgent(
    name="opencode",
    source="opencode",
    command="opencode",
    arguments=("acp",),
    megabytes=354,
    after_install=("node", "node_modules/opencode-ai/postinstall.mjs"),
    environment=lambda place: {
        "OPENCODE_CONFIG": str(place.home / "opencode.json"),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
    },
    prepare=_opencode_settings,
    title="OpenCode",
)


# -- Qwen Code -------------------------------------------------------------------------------------


def _qwen_settings(place: Place) -> None:
    write_settings(
        place.home / ".qwen" / "settings.json",
        {
            "general": {"enableAutoUpdate": False},
            "privacy": {"usageStatisticsEnabled": False},
            "security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": False}},
            "telemetry": {"enabled": False},
        },
    )


QWEN_CODE = AcpAgent(
    name="qwen-code",
    source=None,
    command="qwen",
    arguments=("--acp",),
    megabytes=333,
    environment=lambda place: {
        "OPENAI_API_KEY": ANY_KEY,
        "OPENAI_BASE_URL": f"{place.model}/v1",
        "OPENAI_MODEL": "some-model",
    },
    prepare=_qwen_settings,
    title="Qwen Code",
    # A call for which it has asked has another title in its replay.
    compared=("kind", "status", "rawInput", "rawOutput", "content"),
)

ACP_AGENTS = {
    agent.name: agent
    for agent in (GEMINI_ACP, COPILOT_ACP, CLAUDE_AGENT, CODEX_ACP, OPENCODE, QWEN_CODE)
}
"""By their names; those of the gate come first."""
