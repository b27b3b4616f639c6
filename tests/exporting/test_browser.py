"""The page in a real browser: what it loads, what it runs, and what it looks like."""

import html as standard_html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.exporting.conversations import ORDINARY, call, hostile, result
from tests.exporting.rendering import render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
IS_REQUIRED = os.environ.get("CI") == "true" or os.environ.get("SEGUE_REQUIRE_VSCODE") == "1"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not CHROMIUM and not IS_REQUIRED, reason="needs Chromium (apt-get install chromium)"
)


class Browser:
    """Opens pages from files without a network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, page: str, *flags: str) -> tuple[str, list[str]]:
        """Return the document after it was loaded, and the URLs that it asked for."""
        path, log = self._folder / "page.html", self._folder / "log.json"
        path.write_text(page)
        done = subprocess.run(
            [
                CHROMIUM, *FLAGS, f"--user-data-dir={self._folder / 'profile'}",
                f"--log-net-log={log}", *(flags or ["--dump-dom"]), path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )  # fmt: skip
        return done.stdout, _requests(json.loads(log.read_text()))


def _requests(log: Any) -> list[str]:
    kind = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    params = [event.get("params", {}) for event in log["events"] if event["type"] == kind]
    # The browser's own requests have no origin.
    asked = (each for each in params if each.get("initiator") != "not an origin")
    return [each["url"] for each in asked if re.match("https?:|ftp:|wss?:", each.get("url", ""))]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def test_the_log_of_requests_has_those_of_a_page_that_makes_some(browser: Browser) -> None:
    page = "<img src=http://evil.test/a.png><script>document.title = 'ran'</script>"
    document, requests = browser.open(page)
    assert requests == ["http://evil.test/a.png"]
    assert "<title>ran</title>" in document


def test_a_hostile_conversation_runs_and_loads_nothing(browser: Browser) -> None:
    page = render("html", hostile())
    document, requests = browser.open(page)
    assert requests == []
    assert "<title>Fix the *parser*</title>" in document
    for element in ("section", "details", "pre", "a href", "h2"):
        assert document.count(f"<{element}") == page.count(f"<{element}"), element
    assert not re.search("<(script|img|iframe|svg|form|object|link|base)[ >]", document)
    # All of it is within the page's own element.
    assert document.rindex("</section>") < document.rindex("</main>")


def test_the_result_of_a_tool_is_shown_unchanged(browser: Browser) -> None:
    content = "\n\n  <b>\t&amp; 'x' \"y\"\n</pre>  \n"
    document, _ = browser.open(render("html", [call("t", "Bash", "ls"), result("t", content)]))
    shown = re.findall("<pre>(.*?)</pre>", document, re.S)
    # The browser writes a document without the line break that it reads over.
    assert [standard_html.unescape(each) for each in shown] == ["ls", content]


def test_a_result_of_10_mb_is_shown_whole(browser: Browser) -> None:
    content = "<line> of a log\n" * 700_000
    page = render("html", [call("t", "Bash", "ls"), result("t", content)])
    document, requests = browser.open(page)
    assert len(page.encode()) < 1.3 * len(content)
    assert document.count("&lt;line&gt; of a log") == 700_000
    assert requests == []


def pixels(browser: Browser, path: Path, scheme: int) -> bytes:
    """Return a screenshot of an ordinary conversation, light (1) or dark (0)."""
    flags = f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={path}"
    browser.open(render("html", ORDINARY), *flags, "--window-size=800,900")
    return path.read_bytes()


def test_the_page_is_light_or_dark_as_the_reader_prefers(browser: Browser, tmp_path: Path) -> None:
    light = pixels(browser, tmp_path / "light.png", 1)
    dark = pixels(browser, tmp_path / "dark.png", 0)
    assert light.startswith(b"\x89PNG")
    assert light != dark


def test_everything_is_printed(browser: Browser, tmp_path: Path) -> None:
    folded, printed = (tmp_path / name for name in ("empty.pdf", "full.pdf"))
    lines = "".join(f"line {number}\n" for number in range(500))
    browser.open(render("html", [call("t", "Bash", "ls")]), f"--print-to-pdf={folded}")
    with_result = render("html", [call("t", "Bash", "ls"), result("t", lines)])
    browser.open(with_result, f"--print-to-pdf={printed}")
    pages = [len(re.findall(rb"/Type\s*/Page\b", each.read_bytes())) for each in (folded, printed)]
    assert pages[0] == 1
    assert pages[1] > 5
