"""Secrets of every kind are found wherever they stand; what only looks like one is not."""

import json
import re
from collections import Counter
from typing import Any

import pytest

from segue.redaction import engine
from segue.redaction.keywords import find_places
from segue.redaction.rule import compiled
from segue.redaction.rules import GROUPS, RULES
from segue.redaction.view import View
from tests.bench.redaction import clean_lines
from tests.secret_samples import (
    ALNUM,
    AROUND,
    KEY_FILES,
    KINDS,
    LOOKALIKES,
    PLACES,
    PRINTED,
    TOKENS,
    Leak,
    Random,
    is_hidden,
    leaks,
    placed,
    some,
    suits,
)

PER_KIND = 25


def masked(value: Any) -> Any:
    return engine.mask(value, json.dumps(value))


def test_there_are_more_than_250_kinds() -> None:
    assert len(KINDS) == len(TOKENS) + len(AROUND) > 250


@pytest.mark.parametrize("place", PLACES)
def test_secrets_of_every_kind_are_found(place: str) -> None:
    """At least 98 % of all, and most of each kind."""
    rng = Random(f"recall {place}")
    kinds = [kind for kind in KINDS if suits(kind, place)]
    made = [placed(rng, kind, place) for kind in kinds for _ in range(PER_KIND // len(PLACES) + 1)]
    missed = [leak for leak in made if not is_hidden(leak, masked(leak.text))]
    assert len(missed) <= 0.02 * len(made), missed[:20]
    often = [kind for kind, count in Counter(leak.kind for leak in missed).items() if count > 1]
    assert often == []


def test_secrets_of_every_kind_are_found_in_typical_text() -> None:
    made = list(leaks(seed=1, count=5 * len(KINDS)))
    missed = [leak for leak in made if not is_hidden(leak, masked(leak.text))]
    assert len(missed) <= 0.005 * len(made), missed[:20]


def test_each_kind_is_found_alone_and_in_a_sentence() -> None:
    missed: list[Leak] = []
    for kind in KINDS:
        make, around = AROUND[kind] if kind in AROUND else (TOKENS[kind], "{}")
        secret = make(Random(7))
        for context in ("{}", "It is {} here", '{"value": "{}"}'):
            leak = Leak(kind, secret, context.replace("{}", around.replace("{}", secret)))
            if not is_hidden(leak, masked(leak.text)):
                missed.append(leak)
    assert missed == []


def test_rules_of_every_group_are_exercised() -> None:
    found = {
        name
        for leak in leaks(seed=3, count=3 * len(KINDS))
        for name in re.findall(r"\[redacted:([a-z0-9-]+)", masked(leak.text))
    }
    for group, rules in GROUPS.items():
        names = {rule.name for rule in rules} - {"putty-key"}
        assert len(found & names) >= 0.6 * len(names), (group, names - found)


# -- keys as tools print them ------------------------------------------------------------------


@pytest.mark.parametrize("printed", PRINTED)
def test_private_keys_are_masked_as_tools_print_them(printed: str) -> None:
    for kind, make in KEY_FILES.items():
        lines = make(Random(2)).split("\n")
        secret = [line for line in lines if re.fullmatch(r"[A-Za-z0-9+/=]{24,}", line)]
        for shown in (lines, lines[: len(lines) // 2 + 1]):
            text = f"It is:\n{PRINTED[printed](shown)}\n\nAnd that is all of it.\n"
            hidden = masked(text)
            assert [line for line in secret if line[4:-4] in hidden] == [], kind
            assert "It is:" in hidden
            assert "that is all of it." in hidden
            assert masked(hidden) == hidden


@pytest.mark.parametrize("tail", ["", '",', '"""),   '])
def test_the_end_of_a_private_key_is_masked(tail: str) -> None:
    lines = [line + tail for line in KEY_FILES["RSA key"](Random(2)).split("\n")[3:]]
    rest = re.escape(tail)
    assert re.fullmatch(
        rf"\[\.\.\.\]\n\[redacted:private-key:\w{{8}}\]{rest}\n({rest}\n)?end",
        masked("\n".join(["[...]", *lines, "end"])),
    )


@pytest.mark.parametrize("place", [0, 48_000, 63_000, 65_536, 80_000, 129_000])
def test_secrets_are_masked_where_a_long_string_is_cut(place: int) -> None:
    """Long strings are searched by pieces of 64 KiB."""
    key, token = KEY_FILES["RSA key"](Random(2)), TOKENS["GitHub personal"](Random(2))
    secret = f"{key}\n{token}\n"
    filler = "Nothing is said here.\n" * 20_000
    for shift in (0, 40, 700, 1_700):
        begin = place + shift
        text = filler[:begin] + "\n" + secret + filler
        expected = filler[:begin] + masked("\n" + secret) + filler
        assert masked(text) == expected


def test_a_longer_secret_than_a_piece_is_one() -> None:
    token = "glc_" + "Ab3" * 100_000
    text = "x " * 40_000 + token + " y" * 40_000
    assert masked(text) == text.replace(token, masked(token))
    assert masked(token).startswith("[redacted:grafana-token:")
    assert len(masked(token)) < 40


def test_text_about_keys_is_not_masked() -> None:
    text = "-----BEGIN PRIVATE KEY----- begins one, and -----END PRIVATE KEY----- ends it."
    assert masked(text) is text
    text = "-----BEGIN PRIVATE KEY-----\n<your key>\n-----END PRIVATE KEY-----"
    assert masked(text) is text


# -- what is none ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(LOOKALIKES)))
def test_lookalikes_are_not_masked(number: int) -> None:
    rng = Random(f"lookalike {number}")
    lines = [LOOKALIKES[number](rng) for _ in range(40)]
    assert [masked(line) for line in lines if masked(line) is not line] == []


@pytest.mark.parametrize(
    "string",
    [
        "call_9bYvX2hQ0Z1uJr8wK3LmNoPq",
        "toolu_01A09q90qw90lq917835lq9",
        "chatcmpl-tool-0123456789abcdef0123456789abcdef",
        "0190a6c8-7f3e-7000-8000-0123456789ab",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "https://example.com:8080/a@b",
        "http://localhost:3000?mail=someone@example.com",
        "postgresql://user:password@localhost/db",
        "postgresql://$USER:$PASSWORD@localhost/db",
        "postgresql://{user}:{password}@{host}/db",
        "Authorization: Bearer $TOKEN",
        "Authorization: Bearer YOUR_ACCESS_TOKEN_HERE",
        "API_KEY = os.environ['API_KEY_2']",
        "GITHUB_TOKEN=process.env.TOKEN_1;",
        "GITHUB_TOKEN=${{ secrets.TOKEN_1 }}",
        f"-----BEGIN PUBLIC KEY-----\n{'MFkw' * 16}\n-----END PUBLIC KEY-----",
        "task-runner-configuration-for-all-of-the-workspaces",
        "npm_config_registry and hf_hub_download_from_the_repository",
        "SK and AKIA and eyJ and sk- and ghp_ and xoxb- and :// and :AA and Q~",
    ],
)
def test_harmless_strings_are_not_masked(string: str) -> None:
    assert masked(string) is string


@pytest.mark.parametrize("kind", ["AWS key id", "crates.io", "NuGet", "Azure Storage, marked"])
def test_the_prefix_of_a_token_inside_of_base64_is_left_alone(kind: str) -> None:
    beside = "Qk1hN3" * 10
    blob = f"{beside}{TOKENS[kind](Random(1)).rstrip('=')}{beside}"
    assert masked(blob) is blob


def test_at_most_one_false_positive_in_1000_clean_lines() -> None:
    """`python -m tests.bench.redaction` does the same for 100,000 lines."""
    lines = clean_lines(20_000)
    assert len(lines) > 20_000
    hits = [line for line in lines if masked(line) != line]
    assert len(hits) <= len(lines) / 1_000, hits[:20]


# -- the search for keywords -------------------------------------------------------------------


def test_no_match_is_left_out() -> None:
    """Otherwise the result would depend on what else is in the event."""
    texts = [leak.text for leak in leaks(seed=4, count=2 * len(KINDS))]
    # How a keyword is searched for depends on the length of the text.
    filler = "Some text without any of them " * 100
    texts += [f"{placed(Random(4), kind, 'alone').text}\n{filler}" for kind in KINDS]
    for each in texts:
        text = View(f"\n{each}").text
        places = find_places(text)
        for rule in RULES:
            positions = places.get(rule, ())
            if positions is None:
                continue
            missed = [
                match.start()
                for match in compiled(rule.pattern).finditer(text)
                if match.start() not in positions and rule.check(match)
            ]
            assert missed == [], (rule.name, each)


def test_a_keyword_inside_of_another_is_found() -> None:
    secret = "EAAA" + some(Random(1), ALNUM, 100)
    assert masked(secret).startswith("[redacted:facebook-token:")


def test_keywords_are_what_the_search_expects() -> None:
    for rule in RULES:
        for keyword in rule.keywords:
            assert json.dumps(keyword) == f'"{keyword}"'
            assert rule.is_word or keyword == keyword.lower()
