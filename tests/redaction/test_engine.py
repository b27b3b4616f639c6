"""Secrets are masked before they are written; nothing else changes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segue.redaction.engine import mask
from segue.redaction.rule import Rule
from segue.redaction.rules import GROUPS, RULES
from segue.startup.settings import config_file
from tests.conftest import StartClient
from tests.secret_samples import (
    AROUND,
    CONTEXTS,
    KINDS,
    PLACES,
    TOKENS,
    Random,
    leaks,
    placed,
    some,
)

ROOT = Path(__file__).parents[2]
TOKEN = "ghp_" + "Ab3" * 12


def masked(value: Any) -> Any:
    return mask(value, json.dumps(value))


# -- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        (f"Use {TOKEN}, please", "Use [redacted:github-token:{}], please"),
        ("postgresql://app:hunter2@db/app", "postgresql://app:[redacted:url-password]@db/app"),
        ("redis://:p@ss:w@localhost", "redis://:[redacted:url-password]@localhost"),
        (
            f"https://{TOKEN}:x-oauth@github.com",
            "https://[redacted:github-token:{}]:[redacted:url-password]@github.com",
        ),
        (
            f"https://someone:{TOKEN}@github.com",
            "https://someone:[redacted:github-token:{}]@github.com",
        ),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [redacted:basic-credentials]"),
        (f"export GITHUB_TOKEN={TOKEN}\n", "export GITHUB_TOKEN=[redacted:github-token:{}]\n"),
        ("DB_PASSWORD='hunter2!x'", "DB_PASSWORD='[redacted:env-secret]'"),
    ],
)
def test_only_the_secret_is_replaced(string: str, expected: str) -> None:
    assert masked(string) == expected.replace("{}", fingerprint_of(masked(TOKEN)))


def fingerprint_of(masked_secret: str) -> str:
    found = re.fullmatch(r"\[redacted:[a-z0-9-]+:([0-9a-f]{8})\]", masked_secret)
    assert found is not None
    return found[1]


def test_a_key_that_names_a_secret_masks_its_value() -> None:
    secret = some(Random(1), "abcdefABCDEF0123456789+/", 40)
    data = {"env": {"AWS_SECRET_ACCESS_KEY": secret, "DB_PASSWORD": "hunter2x", "USER": "hunter2x"}}
    env = masked(data)["env"]
    assert env["AWS_SECRET_ACCESS_KEY"].startswith("[redacted:aws-secret-key:")
    assert env["DB_PASSWORD"] == "[redacted:env-secret]"
    assert env["USER"] == "hunter2x"


# -- everything else ---------------------------------------------------------------------------


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(json_values)
def test_a_value_without_a_secret_is_returned_itself(value: Any) -> None:
    assert masked(value) is value


def test_only_strings_are_changed() -> None:
    value = {"n": 1, "a": [True, None, 1.5, 10**40, {"b": TOKEN}], "c": "\ud83d\0 " + TOKEN}
    hidden = masked(TOKEN)
    after = masked(value)
    assert after == {
        "n": 1,
        "a": [True, None, 1.5, 10**40, {"b": hidden}],
        "c": "\ud83d\0 " + hidden,
    }
    assert list(after) == list(value)
    assert after["a"][0] is True


def test_keys_of_objects_are_masked_and_none_is_lost() -> None:
    value = {f"ftp://a:{word}@host": word for word in ("hunter2", "letmein", "secret1")}
    hidden = "ftp://a:[redacted:url-password]@host"
    after = masked({"deep": [{TOKEN: 1}], **value})
    assert after == {
        "deep": [{masked(TOKEN): 1}],
        hidden: "hunter2",
        f"{hidden} (2)": "letmein",
        f"{hidden} (3)": "secret1",
    }
    assert masked(after) == after


def test_a_name_beside_its_value_counts_as_a_key() -> None:
    after = masked(
        {"env": [{"name": "DB_PASSWORD", "value": "hunter2x"}], "DB_PASSWORD": ["a1b2c3d4"]}
    )
    assert after == {
        "env": [{"name": "DB_PASSWORD", "value": "[redacted:env-secret]"}],
        "DB_PASSWORD": ["[redacted:env-secret]"],
    }


def test_a_value_of_maximum_depth_is_masked() -> None:
    value: Any = TOKEN
    for _ in range(128):
        value = [{"a": value}]
    assert TOKEN not in json.dumps(masked(value))


# -- masks -------------------------------------------------------------------------------------


def test_masks_are_equal_for_equal_secrets_only() -> None:
    assert masked(f"{TOKEN} {TOKEN}") == f"{masked(TOKEN)} {masked(TOKEN)}"
    assert masked(TOKEN) != masked(TOKEN[:-1] + "z")


def test_passwords_get_no_fingerprint() -> None:
    one, other = (masked(f"ftp://someone:{word}@host") for word in ("hunter2", "letmein"))
    assert one == other == "ftp://someone:[redacted:url-password]@host"


MADE = list(leaks(seed=6, count=4 * len(KINDS)))
BESIDE = [
    (TOKENS[kind](Random(3)), "") for kind in ("Azure Container Registry", "Azure Storage, marked")
]
PIECES = st.sampled_from([string for leak in MADE for string in (leak.text, leak.secret)])
GLUE = st.sampled_from(["", " ", "\n", "-", "_", ".", "@", ":", "://", "=", "/", "TOKEN=", "\\n"])


@given(st.lists(st.tuples(PIECES, GLUE), min_size=1, max_size=6))
@example(BESIDE)
@settings(max_examples=300, deadline=None)
def test_masking_is_idempotent(pieces: list[tuple[str, str]]) -> None:
    once = masked("".join(piece + glue for piece, glue in pieces))
    assert masked(once) == once


@pytest.mark.parametrize("place", PLACES)
def test_masking_a_masked_secret_changes_nothing(place: str) -> None:
    rng = Random(8)
    for kind in KINDS:
        once = masked(placed(rng, kind, place).text)
        assert masked(once) == once


@pytest.mark.parametrize("name", ["env-secret", "1password-key", "url-password"])
def test_masks_are_not_masked_again(name: str) -> None:
    for hidden in (f"[redacted:{name}]", f"[redacted:{name}:0123abcd]"):
        for context in CONTEXTS:
            for around in ("{}", *(around for _, around in AROUND.values())):
                string = context.replace("{}", around.replace("{}", hidden))
                assert masked(string) == string


def test_an_escape_inside_a_secret_does_not_change_its_mask() -> None:
    assert masked(f"{TOKEN[:20]}\x1b[0m{TOKEN[20:]}") == masked(TOKEN)
    assert masked(f"\x1b[31m{TOKEN}\x1b[0m") == f"\x1b[31m{masked(TOKEN)}\x1b[0m"


# -- the wire ----------------------------------------------------------------------------------


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def store_secrets(client: Any) -> str:
    """Send a secret in every place that is redacted; return the session's id."""
    opened = client.request("session/open")["session"]["sessionId"]
    for number, data in enumerate(({"content": f"{TOKEN} is mine"}, {"content": f"a {TOKEN}"})):
        event = {"id": str(number), "type": ["user_message", "steps"][number], "data": data}
        client.request("session/append", {"sessionId": opened, "events": [event]})
    params = {"sessionId": opened, "key": "k", "value": {"deep": [TOKEN]}}
    client.request("session/setMetadata", params)
    return str(opened)


def test_no_file_of_the_store_contains_a_secret(start: StartClient, database: Path) -> None:
    client = start()
    session_id = store_secrets(client)
    title = client.request("session/open", {"sessionId": session_id})["session"]["title"]
    assert title == f"{masked(TOKEN)} is mine"
    value = client.request("session/getMetadata", {"sessionId": session_id, "key": "k"})["value"]
    assert value == {"deep": [masked(TOKEN)]}
    assert TOKEN.encode() not in on_disk(database.parent)
    client.shutdown()
    assert TOKEN.encode() not in on_disk(database.parent)
    assert masked(TOKEN).encode() in on_disk(database.parent)


def test_no_file_contains_a_secret_of_deferred_metadata(start: StartClient, database: Path) -> None:
    client = start()
    session_id = client.request("session/open")["session"]["sessionId"]
    params = {"sessionId": session_id, "key": "k", "value": TOKEN}
    client.request("session/setMetadata", params)
    asked = {"sessionId": session_id, "key": "k"}
    assert client.request("session/getMetadata", asked)["value"] == masked(TOKEN)
    event = {"type": "text", "data": {"content": "Hello"}}
    client.request("session/append", {"sessionId": session_id, "events": [event]})
    client.shutdown()
    assert TOKEN.encode() not in on_disk(database.parent)


@pytest.mark.parametrize("how", ["environment", "file"])
def test_redact_off_stores_secrets_unchanged(start: StartClient, database: Path, how: str) -> None:
    if how == "file":
        file = config_file()
        assert file is not None
        file.parent.mkdir(parents=True)
        file.write_text('redact = "off"\n')
    client = start(**({"SEGUE_REDACT": "off"} if how == "environment" else {}))
    session_id = store_secrets(client)
    events = client.request("session/events", {"sessionId": session_id})["events"]
    assert [event["data"]["content"] for event in events] == [f"{TOKEN} is mine", f"a {TOKEN}"]
    client.shutdown()
    assert TOKEN.encode() in on_disk(database.parent)


def test_a_retry_of_a_masked_event_is_a_duplicate(start: StartClient) -> None:
    client = start()
    session_id = client.request("session/open")["session"]["sessionId"]
    event = {"id": "e1", "type": "user_message", "data": {"content": f"{TOKEN} ftp://a:b1@c"}}
    params = {"sessionId": session_id, "events": [event]}
    assert client.request("session/append", params)["duplicates"] == 0
    assert client.request("session/append", params)["duplicates"] == 1
    client.kill()
    again = start()
    opened = again.request("session/open", {"sessionId": session_id})
    assert again.request("session/append", params)["duplicates"] == 1
    # So is the masked event itself, as it was read.
    event["data"] = opened["events"][0]["data"]
    assert again.request("session/append", params)["duplicates"] == 1


def test_ids_are_never_masked(start: StartClient) -> None:
    client = start()
    session_id = client.request("session/open")["session"]["sessionId"]
    params = {"sessionId": session_id, "serverSessionId": TOKEN}
    client.request("session/setServerSessionId", params)
    event = {"id": TOKEN, "type": TOKEN, "data": {}}
    appended = client.request("session/append", {"sessionId": session_id, "events": [event]})
    assert appended["head"] == TOKEN
    opened = client.request("session/open", {"sessionId": session_id})
    assert opened["session"]["serverSessionId"] == TOKEN
    page = client.request("session/events", {"sessionId": session_id})
    assert [(event["id"], event["type"]) for event in page["events"]] == [(TOKEN, TOKEN)]


def test_a_tool_call_and_its_result_keep_equal_ids() -> None:
    call, result = masked({"id": TOKEN, "name": "sh"}), masked({"tool_use_id": TOKEN})
    assert call["id"] == result["tool_use_id"]


def test_a_start_does_not_load_the_rules(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "def is_loaded():\n"
        "    return any(name.startswith('segue.redaction') for name in sys.modules)\n"
        "atexit.register(lambda: sys.stderr.write(str(is_loaded())))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "segue", "lsp"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == "False"


# -- documentation -----------------------------------------------------------------------------


def test_every_rule_is_documented() -> None:
    document = (ROOT / "server" / "REDACTION.md").read_text()
    for group, rules in GROUPS.items():
        assert f"### {group}\n\n{table(rules)}\n" in document


def table(rules: Sequence[Rule]) -> str:
    """Return the rows of *rules*, of those with one name in one row."""
    rows = ["| rule | of | found by |", "|---|---|---|"]
    for name in dict.fromkeys(rule.name for rule in rules):
        same = [rule for rule in rules if rule.name == name]
        about = "; ".join(dict.fromkeys(rule.about for rule in same))
        keywords = dict.fromkeys(word for rule in same for word in rule.keywords if word)
        found_by = ", ".join(f"`{word}`".replace("|", "\\|") for word in keywords) or "its length"
        rows.append(f"| `{name}` | {about} | {found_by} |")
    return "\n".join(rows)


def test_the_document_names_the_rules_without_a_fingerprint() -> None:
    document = (ROOT / "server" / "REDACTION.md").read_text()
    named = {rule.name for rule in RULES if not rule.fingerprint}
    assert named == {rule.name for rule in GROUPS["Contexts"]} | {"npm-config"}
    assert "`npm-config`" in document.split("## The mask")[1].split("## ")[0]
