// End-to-end tests of the list of conversations, its keys and states, and the status bar, in a real VS Code.

import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { AFTERNOON, conversation } from "./conversations.mjs";
import { PYTHON, Sandbox, waitUntil, withWorkbench } from "./workbench.mjs";

const PARSER = "Why does the parser drop the last token?";
const LEXER = "Name the lexer's states";
const LONG = "Compare the recursive descent parser with a table-driven one for the grammar of the query language, in memory and in time";
const DAY = 24 * 60;
let sandbox;

beforeEach(() => {
  sandbox = new Sandbox();
});

afterEach(() => sandbox.remove());

/** Minutes from the middle of a day that is so many days ago until now. */
const daysAgo = (days) => days * DAY + new Date().getHours() * 60 + new Date().getMinutes() - DAY / 2;

const monthName = (days) => {
  const time = new Date(Date.now() - daysAgo(days) * 60_000);
  const isThisYear = time.getFullYear() === new Date().getFullYear();
  return time.toLocaleDateString("en", { month: "long", ...(isThisYear ? {} : { year: "numeric" }) });
};

test("300 conversations are listed by day, with their titles whole, a page at a time", async () => {
  const others = Array.from({ length: 297 }, (_, index) => conversation(`Question ${index}`, { minutes: daysAgo(2) + index }));
  await sandbox.record(
    ...others.slice(0, 100).reverse(),
    ...others.slice(100).map((each) => ({ ...each, minutes: each.minutes + 60 * DAY })),
    conversation(LEXER, { minutes: daysAgo(1) }),
    conversation(LONG, { title: LONG }),
    conversation(PARSER),
  );
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row(LONG).filter({ hasText: "2 events" }).waitFor();
    await vscode.screenshot("list-300");
    assert.deepEqual((await vscode.rows()).slice(0, 6), ["Today", PARSER, LONG, "Yesterday", LEXER, "Previous 7 days"]);
    await vscode.focusRow("Today");
    await vscode.page.keyboard.press("End");
    await vscode.focusedRow("Load more…").waitFor();
    await vscode.page.keyboard.press("Enter");
    await vscode.focusedRow("Question 97").waitFor(); // the 101st conversation: where "Load more…" was
    await vscode.page.keyboard.press("End");
    await vscode.page.keyboard.press("Enter");
    await vscode.row(monthName(62)).waitFor();
    await vscode.screenshot("list-300-more");
  });
});

test("the status bar and the list show what the next question goes on with, before it is asked", async () => {
  const [lexer] = await sandbox.record(conversation(LEXER, { minutes: 90 }), conversation(PARSER, { minutes: 12 }));
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.statusItem().filter({ hasText: `${PARSER} — last active` }).waitFor();
    assert.match(await vscode.statusItem().getAttribute("aria-label"), /^Segue: Why does .* — last active \d+ min ago$/);
    await vscode.showConversations();
    await vscode.rowNamed(/^Why does .*, \d+ min ago, 2 events, current$/).waitFor();
    await vscode.rowNamed(/^Name the .*, 1 h ago, 2 events$/).waitFor();
    await vscode.screenshot("current-from-the-start");

    await sandbox.record(conversation("And now?", { sessionId: lexer })); // in another editor: that is the newest now
    await vscode.rowNamed(/^Name the .*, 5 events, current$/).waitFor(); // with the note that an invocation began
    await vscode.statusItem().filter({ hasText: `${LEXER} — last active` }).waitFor();

    await vscode.askInChat("@segue Which ones?");
    await vscode.chatResponse("You asked: Which ones?").waitFor();
    await vscode.rowNamed(/^Name the .*, 8 events, Echo, current$/).waitFor();
    await waitUntil("it is current", async () => (await vscode.statusItem().innerText()).trim() === LEXER);
  });
  assert.equal((await sandbox.loadSession(lexer)).events.length, 8);
});

test("the keyboard walks the list without opening anything, and opens, renames and deletes its row", async () => {
  const titles = ["one", "two", "three", "four"];
  await sandbox.record(...titles.map((title, index) => conversation(`Question ${title}`, { minutes: index })));
  await withWorkbench(sandbox, { env: { TZ: AFTERNOON } }, async (vscode) => {
    const press = (key) => vscode.page.keyboard.press(key);
    const tabs = () => vscode.page.locator(".tabs-container .tab").count();
    await vscode.showConversations();
    await vscode.focusRow("Question one");
    await press("ArrowDown");
    await vscode.focusedRow("Question two").waitFor();
    await press("ArrowDown");
    await vscode.focusedRow("Question three").waitFor();
    assert.equal(await tabs(), 0);

    await press("Space"); // shows it, and stays
    await vscode.transcript("About this: Question three").waitFor();
    await vscode.focusedRow("Question three").waitFor();
    assert.equal(await vscode.transcriptHasFocus(), false);
    await press("ArrowUp");
    await vscode.focusedRow("Question two").waitFor();

    // The keys are for the row that has the keyboard, which is not the one that is selected.
    await press("F2");
    await vscode.inputBox("Rename Conversation").waitFor();
    await press("Escape");
    await vscode.focusedRow("Question two").waitFor();
    await press("F2");
    await vscode.fillInputBox("Rename Conversation", "The second");
    await vscode.focusedRow("The second").waitFor();

    await vscode.pressDelete("The second");
    await press("Escape");
    await vscode.dialog().waitFor({ state: "detached" });
    await vscode.focusedRow("The second").waitFor();
    await vscode.pressDelete("The second");
    await vscode.dialog().getByRole("button", { name: "Delete" }).click();
    await vscode.focusedRow("Question three").waitFor();
    await press("ArrowDown");
    await vscode.focusedRow("Question four").waitFor();
    await vscode.pressDelete("Question four");
    await vscode.dialog().getByRole("button", { name: "Delete" }).click();
    await vscode.focusedRow("Question three").waitFor(); // that was the last row

    await waitUntil("Enter opens it, and goes there", async () => {
      await press("Enter"); // while the list is read anew, it only shows what is selected
      const hasFocus = () => vscode.transcriptHasFocus();
      return waitUntil("the transcript has the keyboard", hasFocus, 5_000).catch(() => false);
    });
    assert.equal(await tabs(), 1);
    await vscode.focusRow("Today");
    await press("Delete");
    await press("F2");
    await press("Enter");
    await vscode.row("Question one").waitFor({ state: "detached" });
    // The palette that moved the focus may still close.
    const asks = async () => (await vscode.inputBox("").count()) + (await vscode.dialog().count());
    await waitUntil("nothing is asked", async () => (await asks()) === 0);
  });
  const left = await sandbox.listSessions();
  assert.deepEqual(left.map(({ title }) => title), ["Question one", "Question three"]);
});

test("no server is installed or starts where nobody uses Segue, until the view is shown or another editor has stored something", async () => {
  const countServers = () => sandbox.findServers().length;
  const storage = join(sandbox.root, "user", "User", "globalStorage", "segue.segue");
  await withWorkbench(sandbox, { machine: {} }, async (vscode) => {
    await vscode.runCommand("Segue: Show Log"); // the extension is active then, and nobody has asked for a conversation yet
    await vscode.page.locator(".part.panel .output-view").waitFor();
    await vscode.page.waitForTimeout(3_000);
    assert.deepEqual([countServers(), existsSync(sandbox.database), existsSync(storage)], [0, false, false]);
    await vscode.showConversations();
    await waitForWelcome(vscode, NO_CONVERSATION);
    assert.equal(countServers(), 1);
  });
  await sandbox.record(conversation(PARSER, { minutes: 12 }));
  await withWorkbench(sandbox, { machine: {} }, async (vscode) => {
    await vscode.statusItem().filter({ hasText: `${PARSER} — last active` }).waitFor();
  });
});

test("a row keeps the keyboard and the selection while its conversation moves to another day", async () => {
  const [, lexer, parser] = await sandbox.record(
    conversation("Question one"),
    conversation(LEXER, { minutes: daysAgo(1) }),
    conversation(PARSER, { minutes: daysAgo(3) }),
  );
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.focusRow(LEXER);
    await sandbox.record(conversation("And now?", { sessionId: lexer }));
    await vscode.focusedRow(LEXER).filter({ hasText: "now · 5 events" }).waitFor(); // with the note that an invocation began
    assert.deepEqual(await vscode.rows(), ["Today", LEXER, "Question one", "Previous 7 days", PARSER]);

    await vscode.row("Why does the parser").click();
    await vscode.focusedRow(PARSER).waitFor();
    await sandbox.record(conversation("And now?", { sessionId: parser }));
    await vscode.focusedRow(PARSER).filter({ hasText: "now · 5 events" }).waitFor();
    assert.deepEqual(await vscode.rows(), ["Today", PARSER, LEXER, "Question one"]);
    assert.deepEqual(await vscode.page.locator(".sidebar .monaco-list-row.selected .label-name").allInnerTexts(), [PARSER]);
  });
});

/** Wait until the view says and offers this. */
async function waitForWelcome(vscode, expected) {
  let lines;
  await waitUntil(`the view says ${expected}`, async () => {
    lines = await vscode.welcome();
    return JSON.stringify(lines) === JSON.stringify(expected);
  }).catch(() => assert.deepEqual(lines, expected));
}

const LOADING = ["Loading the conversations of this workspace…", "The first start takes a few seconds."];
const NO_CONVERSATION = [
  "No conversation of this workspace is recorded yet.",
  "New Conversation",
  "Ask @segue in the chat view, or use Segue in another editor. Recorded conversations appear here automatically.",
  "Import Conversations…",
  "The conversations of other programs on this machine, such as Claude Code, Codex and Copilot Chat, can be imported. More about Segue",
];
const FAILED = ["The Segue server cannot be started. The log says why.", "Try Again", "Show Log"];

const FAILURE = "The Segue server cannot be started. It ended as soon as it was started; the log has what it said.";

/** A command of a server that starts when the file `go` exists, and fails when that has something in it. */
function serverThatWaitsFor(go) {
  return ["/bin/sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.1; done; [ -s "$0" ] && exit 3; exec "$@"', go, PYTHON, "-I", "-m", "segue", "lsp"];
}

test("the view says that it loads, that there is no conversation, and nothing of that when there is one", async () => {
  const go = join(sandbox.root, "go");
  await withWorkbench(sandbox, { machine: { "segue.server.command": serverThatWaitsFor(go) } }, async (vscode) => {
    await vscode.showConversations();
    await waitForWelcome(vscode, LOADING);
    await vscode.screenshot("loading");
    writeFileSync(go, "");
    await waitForWelcome(vscode, NO_CONVERSATION);
    await vscode.screenshot("empty");
    assert.deepEqual(await vscode.listNotifications(), []);
    await sandbox.record(conversation(PARSER));
    await vscode.row("Why does the parser").waitFor();
    await waitForWelcome(vscode, []);
  });
});

test("a server that cannot be started is told once, and by the view until it can", async () => {
  const go = join(sandbox.root, "go");
  writeFileSync(go, "fail");
  await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, { machine: { "segue.server.command": serverThatWaitsFor(go) } }, async (vscode) => {
    await vscode.page.waitForTimeout(3_000); // nobody has asked for anything yet
    assert.deepEqual(await vscode.listNotifications(), []);
    await vscode.showConversations();
    await waitForWelcome(vscode, FAILED);
    await vscode.notification("The Segue server cannot be started").waitFor();
    assert.deepEqual(await vscode.listNotifications(), [FAILURE]);
    await vscode.screenshot("failed");
    await vscode.runCommand("Notifications: Clear All Notifications");
    await vscode.runCommand("Segue: New Conversation"); // who asks gets an answer
    await vscode.notification("The Segue server cannot be started").waitFor();
    assert.deepEqual(await vscode.listNotifications(), [FAILURE]);
    writeFileSync(go, "");
    await vscode.page.locator(".sidebar .welcome-view-content .monaco-button").filter({ hasText: "Try Again" }).click();
    await vscode.row("Why does the parser").waitFor();
  });
});

test("a store that cannot be read is told with the reason, and by the view until it can", async () => {
  writeFileSync(sandbox.database, "This is no database. ".repeat(1_000), { mode: 0o600 });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await waitForWelcome(vscode, ["The conversations cannot be read.", "Try Again", "Show Log"]);
    const button = vscode.notification("is not a SQLite database. It was left as it is.").getByRole("button", { name: "Try Again" });
    await button.waitFor();
    await vscode.screenshot("refused");
    rmSync(sandbox.database);
    await sandbox.record(conversation(PARSER));
    await button.click();
    await vscode.row("Why does the parser").waitFor();
  });
});

test("the view offers the walkthrough, whose steps are done by what they are about, and the import", async () => {
  await withWorkbench(sandbox, {}, async (vscode) => {
    const step = (title) => vscode.page.locator(".getting-started-step").filter({ hasText: title });
    await vscode.page.setViewportSize({ width: 1_800, height: 800 }); // the pictures have no place in a narrow window
    await vscode.showConversations();
    await vscode.page.locator(".sidebar .welcome-view-content a").filter({ hasText: "More about Segue" }).click();
    await step("Have a conversation that is kept").waitFor();
    const picture = vscode.webviewPage(".getting-started-media iframe.webview").locator("svg");
    for (const [title, text] of [["Import what is there already", "Codex"], ["Go on where you stopped", "later"], ["Find what was said", "parser"]]) {
      await step(title).click();
      await picture.filter({ hasText: text }).waitFor();
    }
    await vscode.screenshot("walkthrough");
    assert.equal(await step("Find what was said").locator(".complete").count(), 0);
    await step("Find what was said").getByRole("button", { name: "Search Conversations" }).click();
    await vscode.page.locator(".quick-input-widget input:visible").waitFor();
    await step("Find what was said").locator(".complete").first().waitFor();
    await step("Have a conversation").locator(".complete").first().waitFor({ state: "detached" });

    await sandbox.record(conversation(PARSER));
    await vscode.row("Why does the parser").waitFor();
    await step("Have a conversation").locator(".complete").first().waitFor();

    await vscode.runCommand("Segue: Import Conversations…");
    await vscode.notification("Segue has found no conversations of other programs on this machine").waitFor();
  });
});
