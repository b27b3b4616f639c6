// End-to-end tests: what a user does and sees in a real VS Code.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { answer, conversation, PARSER, RICH, userMessage } from "./conversations.mjs";
import { followColorScheme, PYTHON, Sandbox, waitUntil, withWorkbench } from "./workbench.mjs";
import { withNeovim } from "./neovim.mjs";

const LEXER = "Name the lexer's states";
let sandbox;

beforeEach(() => {
  sandbox = new Sandbox();
});

afterEach(() => sandbox.remove());

const contents = ({ events }) => events.filter(({ type }) => type !== "system_context").map(({ data }) => data.content);

test("conversations of another editor are listed, appear without a refresh, and can be resumed", async () => {
  const [parser] = await sandbox.record(conversation(PARSER, { minutes: 12 }));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").filter({ hasText: /\d+ min · 2 events/ }).waitFor();
    await sandbox.record(conversation(LEXER));
    await vscode.row("Name the lexer").filter({ hasText: /(now|min) · 2 events/ }).waitFor();
    await vscode.screenshot("listed");
    await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
    await vscode.statusItem().filter({ hasText: `${PARSER} — resumed, last active` }).waitFor();
    assert.match(await vscode.statusItem().getAttribute("aria-label"), /^Segue: Why does .* — resumed, last active \d+ min ago$/);
    await vscode.transcript("About this: Why does the parser").waitFor();
    await vscode.screenshot("resumed");
  });
  assert.deepEqual(contents(await sandbox.loadSession(parser)).length, 2);
});

test("an open transcript grows while another editor writes, also after the server was killed", async () => {
  const [parser] = await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.transcript("About this: Why does the parser").waitFor();
    await sandbox.record(conversation("And the next token?", { sessionId: parser }));
    await vscode.transcript("About this: And the next token?").waitFor();
    assert.equal(sandbox.killServers(), 1);
    await sandbox.record(conversation("And the one after that?", { sessionId: parser }));
    await vscode.transcript("About this: And the one after that?").waitFor();
  });
});

/** Texts that would run or load something if they became HTML, or links of VS Code. */
const HOSTILE = [
  "<script>document.title = 'taken'</script>",
  "<img src=x onerror=\"document.title = 'taken'\"> <svg onload=\"document.title = 'taken'\">",
  "<iframe srcdoc=\"<script>parent.document.title = 'taken'</script>\"></iframe> <style>* { display: none }</style>",
  "[click](javascript:document.title='taken') [quit](command:workbench.action.quit) [file](file:///etc/passwd) <command:a.b>",
  "![remote](https://tracker.test/pixel.png) ![local](data:image/svg+xml,<svg/>) [web](https://example.org/)",
  "```html\n</code></pre></section><script>document.title = 'taken'</script>\n```",
].join("\n\n");

test("nothing of a message runs or loads in a transcript, and its policy forbids it once more", async () => {
  const data = [userMessage(HOSTILE), answer(HOSTILE), { type: "thinking", data: { content: HOSTILE } },
    { type: "tool_call", data: { id: "1", name: HOSTILE, input: { [HOSTILE]: HOSTILE } } },
    { type: "tool_result", data: { tool_use_id: "1", content: HOSTILE, is_error: false } }, { type: HOSTILE.slice(0, 100), data: { HOSTILE } }];
  await sandbox.record({ events: [userMessage("Harmless"), ...data] });
  await withWorkbench(sandbox, {}, async (vscode) => {
    const requests = [];
    vscode.page.on("request", (request) => /tracker\.test|example\.org/.test(request.url()) && requests.push(request));
    await vscode.showConversations();
    await vscode.row("Harmless").click();
    await vscode.transcript("Harmless").waitFor();
    const page = vscode.transcriptPage();
    for (const summary of await page.locator("summary").all()) {
      await summary.click();
    }
    await vscode.screenshot("hostile");
    const found = await page.locator("body").evaluate((body) => ({
      tags: body.querySelectorAll("main :is(script, img, svg, iframe, style, object, form, [onerror], [onload], [style], [src])").length,
      links: [...new Set([...body.querySelectorAll("main a")].map((link) => link.href))],
      title: document.title,
    }));
    assert.deepEqual([found.tags, requests.length, found.links.sort()], [0, 0, ["https://example.org/", "https://tracker.test/pixel.png"]]);
    // Were one of them in the page nevertheless, the policy would not let it run or load.
    const blocked = await page.locator("body").evaluate(async (body) => {
      const violations = [];
      document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violations.push(effectiveDirective));
      body.insertAdjacentHTML("beforeend", "<img src='https://tracker.test/a.png' onerror='document.title = 1'><iframe src='https://tracker.test/b'></iframe><p style='color: red'></p><a href='javascript:document.title=1'></a>");
      const script = document.createElement("script");
      script.textContent = "document.title = 'taken'";
      body.append(script);
      body.querySelector("a[href^=javascript]").click();
      await fetch("https://tracker.test/c").catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 500));
      return { violations: [...new Set(violations)].sort(), title: document.title };
    });
    assert.deepEqual(blocked.violations, ["connect-src", "frame-src", "img-src", "script-src-attr", "script-src-elem", "style-src-attr"]);
    assert.equal(blocked.title, found.title);
    assert.ok(requests.every((request) => request.failure()?.errorText === "csp"));
    assert.notEqual(found.title, "taken");
  });
});

test("a transcript folds tools and thoughts, highlights code, and says where its conversation comes from", async () => {
  const call = (id, name, input) => ({ type: "tool_call", data: { id, name, input } });
  const result = (id, content, isError = false) => ({ type: "tool_result", data: { tool_use_id: id, content, is_error: isError } });
  const [id] = await sandbox.record({ events: [
    userMessage(PARSER), { type: "thinking", data: { content: "Let me *look*." } },
    call("1", "grep_search", { query: "tokens" }), call("2", "run_tests", { command: "pytest" }), result("2", "1 failed", true), result("1", "parser.py:2"),
    { type: "text", data: { content: "It is the **slice**:\n\n```python\nreturn list(tokens)\n```", model: "acme/large" } },
  ] });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    const answered = vscode.transcript("It is the slice");
    await answered.locator(".hljs-keyword", { hasText: "return" }).waitFor();
    await answered.locator("strong", { hasText: "slice" }).waitFor();
    await vscode.transcript("Thinking").locator("h2", { hasText: "acme/large" }).waitFor();
    const tools = vscode.transcript("grep_search").locator("details");
    assert.deepEqual(await tools.locator("summary").allInnerTexts(), ["grep_search tokens", "run_tests failed pytest"]);
    assert.equal(await tools.locator("pre", { hasText: "parser.py:2" }).isVisible(), false);
    await tools.locator("summary", { hasText: "grep_search" }).click();
    await tools.locator("pre", { hasText: "parser.py:2" }).waitFor();
    await answered.locator("figure").hover();
    await answered.getByRole("button", { name: "Copy" }).click();
    await answered.getByRole("button", { name: "Copied" }).waitFor();

    await vscode.turnAction("Fork Conversation from Here").click();
    await vscode.transcriptPage().getByText(`A fork of “${PARSER}”: the first 7 events are the same.`).waitFor();
    await vscode.transcript("The fork begins here.").waitFor();
    await vscode.screenshot("transcript-fork");
    await vscode.transcriptPage().getByRole("button", { name: `“${PARSER}”` }).click();
    await vscode.transcriptPage().getByRole("heading", { name: PARSER, exact: true }).waitFor();
    assert.equal(await vscode.transcript("The fork begins here.").count(), 0);
  });
  assert.equal((await sandbox.loadSession(id)).events.length, 7);
});

/** The texts of a page whose contrast is too low, as `text (contrast)`. */
function findFaintTexts(body) {
  const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const blend = ([r, g, b, alpha = 1], under) => [r, g, b].map((value, index) => value * alpha + under[index] * (1 - alpha));
  const backgroundOf = (element) => (element === null ? [255, 255, 255] : blend(parse(getComputedStyle(element).backgroundColor), backgroundOf(element.parentElement)));
  const luminance = (color) => color
    .map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const faint = [];
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() !== "" && element.checkVisibility({ contentVisibilityAuto: true }) && !element.matches("script, style")) {
      const background = backgroundOf(element);
      const [dark, light] = [background, blend(parse(getComputedStyle(element).color), background)].map(luminance).sort((a, b) => a - b);
      const contrast = (light + 0.05) / (dark + 0.05);
      if (contrast < (element.matches(".failed") ? 3 : 4.5)) { // that is the color of errors of the theme
        faint.push(`${walker.currentNode.data.trim().slice(0, 40)} (${contrast.toFixed(1)})`);
      }
    }
  }
  return faint;
}

test("every text of a transcript can be read: dark, light, and in high contrast", async () => {
  await sandbox.record({ events: RICH });
  for (const [isHighContrast, kinds] of [[false, { dark: "vscode-dark", light: "vscode-light" }], [true, { dark: "vscode-high-contrast", light: "vscode-high-contrast-light" }]]) {
    await withWorkbench(sandbox, { settings: followColorScheme(isHighContrast) }, async (vscode) => {
      await vscode.showConversations();
      await vscode.row("Why does the parser").click();
      await vscode.transcript("That one.").waitFor();
      for (const summary of await vscode.transcriptPage().locator("summary").all()) {
        await summary.click();
      }
      for (const [colorScheme, kind] of Object.entries(kinds)) {
        await vscode.page.emulateMedia({ colorScheme });
        await vscode.transcriptPage().locator(`body[data-vscode-theme-kind="${kind}"]`).waitFor();
        assert.deepEqual([kind, await vscode.transcriptPage().locator("body").evaluate(findFaintTexts)], [kind, []]);
      }
    });
  }
});

test("a long transcript opens at its end, shows more on demand, grows live, and is there again after a reload", async () => {
  const [id] = await sandbox.record({ ...LONG, minutes: 12 });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.transcript("Step 2099").waitFor();
    await waitUntil("it is at its end", async () => (await vscode.transcriptScroll()).isAtEnd);
    await vscode.page.setViewportSize({ width: 600, height: 600 });
    await waitUntil("it stays there in a smaller window", async () => (await vscode.transcriptScroll()).isAtEnd);
    await vscode.page.setViewportSize({ width: 1_280, height: 800 });
    const blocks = vscode.transcriptPage().locator("#blocks > section");
    assert.equal(await blocks.count(), 100);
    await vscode.transcriptPage().getByRole("button", { name: "Show Earlier" }).click();
    await vscode.transcript("Step 1900").waitFor({ state: "attached" });
    assert.equal(await blocks.count(), 200);

    // Who reads elsewhere stays there while the conversation grows, and can go to its end.
    await sandbox.record({ events: [answer("And one more.")], sessionId: id });
    await vscode.transcript("And one more.").waitFor({ state: "attached" });
    assert.equal((await vscode.transcriptScroll()).isAtEnd, false);
    await vscode.transcriptPage().getByRole("button", { name: "Go to the End" }).click();
    await waitUntil("it is at its end", async () => (await vscode.transcriptScroll()).isAtEnd);
    await sandbox.record({ events: [answer("And the last.")], sessionId: id });
    await vscode.transcript("And the last.").waitFor();
    await waitUntil("it follows", async () => (await vscode.transcriptScroll()).isAtEnd);

    const reloaded = vscode.page.waitForEvent("load");
    await vscode.runCommand("Developer: Reload Window"); // saves which editors are open; the browser's reload may not
    await reloaded;
    await vscode.waitUntilReady();
    await vscode.transcript("And the last.").waitFor();
  });
});

test("a transcript of a conversation that another window has open goes on in a linked fork", async () => {
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${PARSER}`);
    await vscode.chatResponse(`You asked: ${PARSER}`).waitFor();
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0]?.eventCount === 2);
    const other = await vscode.openWindow();
    await other.showConversations();
    await other.row("Why does the parser").click();
    await other.transcriptPage().getByText("Open in another window, and shown here as it grows.").waitFor();
    await vscode.askInChat("@segue two");
    await other.transcript("You asked: two").waitFor();
    await other.screenshot("go-on-here");
    await other.transcriptPage().getByRole("button", { name: "Go On Here" }).click();
    await other.transcriptPage().getByText(`A fork of “${PARSER}”: the first 4 events are the same.`).waitFor();
    await other.chatInput("@segue").waitFor();
    await other.askInChat("@segue three");
    await other.transcript("You asked: three").waitFor();
    await vscode.askInChat("@segue four");
    await vscode.chatResponse("You asked: four").waitFor();
    const loadAll = async () => Promise.all((await sandbox.listSessions()).map(({ sessionId }) => sandbox.loadSession(sessionId)));
    await waitUntil("both are stored", async () => (await loadAll()).every((session) => contents(session).length === 6));
    assert.equal(await vscode.notification("Another window wrote first").count(), 0);
  });
  const sessions = await sandbox.listSessions();
  const fork = sessions.find(({ forkedFrom }) => forkedFrom !== null);
  const original = sessions.find(({ sessionId }) => sessionId === fork.forkedFrom);
  assert.deepEqual([sessions.length, fork.forkedAt], [2, 4]);
  assert.deepEqual(contents(await sandbox.loadSession(fork.sessionId)).slice(-2), ["three", "You asked: three"]);
  assert.deepEqual(contents(await sandbox.loadSession(original.sessionId)).slice(-2), ["four", "You asked: four"]);
});

test("the picker filters by typing, lists archived conversations, and escapes icon syntax", async () => {
  await sandbox.record(conversation(PARSER), conversation("Draw $(trash) here"), conversation(LEXER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.clickRowAction("Name the lexer", "Archive Conversation");
    await vscode.row("Name the lexer").waitFor({ state: "detached" });
    await vscode.runCommand("Segue: Resume Conversation…");
    const rows = vscode.page.locator(".quick-input-list .monaco-list-row");
    await rows.filter({ hasText: "Draw $\u200b(trash) here" }).waitFor();
    assert.match(await rows.filter({ hasText: "trash" }).getAttribute("aria-label"), /^Draw \$.\(trash\) here, /);
    await rows.filter({ hasText: LEXER }).waitFor();
    await vscode.screenshot("picker");
    await vscode.page.keyboard.type("parser");
    await rows.filter({ hasText: LEXER }).waitFor({ state: "detached" });
    await vscode.page.keyboard.press("Enter");
    await vscode.statusItem().filter({ hasText: PARSER }).waitFor();
  });
});

/** Open the dialog that asks before deleting. A menu command gets no row while the tree reloads: retry then. */
async function openDeleteDialog(vscode, title) {
  for (let attempt = 0; attempt < 4; attempt += 1) {
    await vscode.chooseRowAction(title, "Delete Conversation");
    const isOpen = await vscode.dialog().waitFor({ timeout: 8_000 }).then(() => true, () => false);
    if (isOpen) {
      return;
    }
    await vscode.page.keyboard.press("Escape");
  }
}

test("a conversation can be shown, archived, unarchived, and, after a confirmation, deleted", async () => {
  const [id] = await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.transcript("About this").waitFor();
    await vscode.screenshot("transcript");

    await vscode.clickRowAction("Why does the parser", "Archive Conversation");
    await vscode.row("Why does the parser").waitFor({ state: "detached" });
    await vscode.transcriptNote("Archived; last active").waitFor();
    assert.notEqual((await sandbox.loadSession(id)).session.archivedAt, null);
    await vscode.chooseViewAction("Show Archived");
    await vscode.clickRowAction("Why does the parser", "Unarchive Conversation");
    await waitUntil("unarchived", async () => (await sandbox.loadSession(id)).session.archivedAt === null);
    await vscode.transcriptNote(/^Last active/).waitFor();

    await openDeleteDialog(vscode, "Why does the parser");
    await vscode.dialog().filter({ hasText: "2 events will be deleted permanently" }).waitFor();
    await vscode.screenshot("delete");
    await vscode.page.keyboard.press("Escape");
    await vscode.dialog().waitFor({ state: "detached" });
    assert.equal((await sandbox.listSessions()).length, 1);
    await openDeleteDialog(vscode, "Why does the parser");
    await vscode.dialog().getByRole("button", { name: "Delete" }).click();
    await vscode.row("Why does the parser").waitFor({ state: "detached" });
    assert.deepEqual(await sandbox.listSessions(), []);
  });
});

test("the question is stored before the model request, and the answer when it is complete", async () => {
  const go = join(sandbox.root, "go");
  const question = `Please wait for ${go}`;
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${question}`);
    await waitUntil("the model is asked", () => sandbox.loadModelRequests().length === 1);
    const [session] = await sandbox.listSessions();
    assert.deepEqual(contents(await sandbox.loadSession(session.sessionId)), [question]);
    writeFileSync(go, "");
    await vscode.chatResponse(`You asked: ${question}`).waitFor();
    await waitUntil("the answer is stored", async () => contents(await sandbox.loadSession(session.sessionId)).length === 2);
    const { events } = await sandbox.loadSession(session.sessionId);
    assert.deepEqual(events[1].data, { content: `You asked: ${question}`, model: "tests/echo" });
    const chats = await waitUntil("VS Code has saved the chat", () => sandbox.findChats(question));
    const [report] = await sandbox.importFiles(...chats);
    assert.deepEqual([report.source, report.events, report.skipped["turn of @segue"], report.broken], ["vscode-chat", 0, 1, []]);
    assert.equal((await sandbox.listSessions()).length, 1);
  });
});

const toolEvents = ({ events }) => events.filter(({ type }) => type.startsWith("tool_")).map(({ data }) => data);

test("@segue lets the model use tools, asks the user where a tool wants that, and records calls and results", async () => {
  await withWorkbench(sandbox, { extensions: ["echo-model", "look-up-tool"] }, async (vscode) => {
    await vscode.askInChat("@segue use look_up with lexer");
    await vscode.chatResponse("The tool said: Entry for lexer").waitFor();
    await vscode.chatResponse("Looked up lexer").waitFor();
    await vscode.screenshot("tool");
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0].eventCount === 5);
    const [{ sessionId, agent, model }] = await sandbox.listSessions();
    const { events } = await sandbox.loadSession(sessionId);
    assert.deepEqual([agent, model], ["@segue", "Echo"]);
    assert.deepEqual(events.map(({ type }) => type), ["user_message", "text", "tool_call", "tool_result", "text"]);
    assert.deepEqual(toolEvents({ events }), [
      { id: "call-1", name: "look_up", input: { word: "lexer" } },
      { tool_use_id: "call-1", content: "Entry for lexer", is_error: false },
    ]);

    // A tool that changes something runs only if the user allows it.
    await vscode.askInChat("@segue use write_entry with parser");
    await vscode.answerConfirmation("Write an entry for parser?", "Skip");
    await vscode.chatResponse("The tool said: The user chose to skip the tool call").waitFor();
    await vscode.askInChat("@segue use write_entry with scanner");
    await vscode.answerConfirmation("Write an entry for scanner?", "Allow");
    await vscode.chatResponse("The tool said: Wrote scanner").waitFor();
    await vscode.askInChat("@segue use no_such_tool with x");
    await vscode.chatResponse("The tool said: There is no tool no_such_tool.").waitFor();
    await waitUntil("all is stored", async () => contents(await sandbox.loadSession(sessionId)).length === 20);
    const errors = toolEvents(await sandbox.loadSession(sessionId)).filter((each) => "is_error" in each).map((each) => each.is_error);
    assert.deepEqual(errors, [false, false, false, true]);
    await vscode.runCommand("Segue: Show Transcript");
    await vscode.transcriptPage().locator("summary", { hasText: "write_entry scanner" }).waitFor();
  });
  const [offered] = sandbox.loadOfferedTools();
  assert.ok(offered.includes("look_up") && offered.includes("write_entry"));
  assert.equal(existsSync(join(sandbox.root, "parser")), false);
  assert.equal(existsSync(join(sandbox.root, "scanner")), true);
  const earlier = sandbox.loadModelRequests().at(-1).map(({ content }) => content).join("\n");
  assert.match(earlier, /^I use look_up\. <call look_up \{"word":"lexer"\}>\n<result Entry for lexer>$/m);
});

test("the rounds of tools have an end, the user can stop one, and the setting limits the tools", async () => {
  const machine = { "segue.server.command": [PYTHON, "-I", "-m", "segue", "lsp"], "segue.tools": "mentioned" };
  await withWorkbench(sandbox, { extensions: ["echo-model", "look-up-tool"], machine }, async (vscode) => {
    await vscode.askInChat("@segue use look_up with lexer");
    await vscode.chatResponse("You asked: use look_up with lexer").waitFor();
    await vscode.askInChat("@segue #lookUp use look_up with lexer again and again");
    await vscode.chatResponse("Stopped after 25 rounds of tools.").waitFor();
    await waitUntil("all is stored", async () => (await sandbox.listSessions())[0].eventCount === 2 + 1 + 26 + 2 * 25 + 1);
    await vscode.askInChat("@segue #lookUp use look_up with slow");
    await vscode.chatResponse("Looking up slow").waitFor();
    await vscode.page.locator(".interactive-input-part .codicon-stop-circle:visible").click();
    const [{ sessionId }] = await sandbox.listSessions();
    await waitUntil("the result is stored", async () => toolEvents(await sandbox.loadSession(sessionId)).at(-1).content === "The user stopped the tool.");
  });
  const offered = sandbox.loadOfferedTools();
  assert.deepEqual([offered[0], offered.at(-1)], [[], ["look_up"]]);
  assert.equal(offered.length, 1 + 26 + 1);
});

test("after a restart of the window the model receives the earlier messages", async () => {
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${PARSER}`);
    await vscode.chatResponse(`You asked: ${PARSER}`).waitFor();
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0]?.eventCount === 2);
  });
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat("@segue And what did you say?");
    await vscode.chatResponse("You asked: And what did you say?").waitFor();
    await vscode.screenshot("follow-up");
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0]?.eventCount === 5);
  });
  const request = sandbox.loadModelRequests().at(-1);
  assert.deepEqual(request.slice(0, 2), [
    { role: "user", content: PARSER },
    { role: "assistant", content: `You asked: ${PARSER}` },
  ]);
  assert.match(request[2].content, /a new invocation of the editor begins here/);
  assert.deepEqual(request.at(-1), { role: "user", content: "And what did you say?" });
});

test("New Conversation and Resume open the chat view, and Resume what was said", async () => {
  await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.runCommand("Segue: New Conversation");
    await vscode.chatInput("@segue").waitFor();
    await vscode.showConversations();
    await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
    await vscode.transcript("About this: Why does the parser").waitFor();
    await vscode.page.locator(".interactive-input-part .monaco-editor.focused").waitFor();
    await vscode.screenshot("resumed-chat");
  });
});

test("/new starts a new conversation, /history lists, and a partial answer is stored when the model fails", async () => {
  const go = join(sandbox.root, "go");
  const question = `Please wait for ${go} and fail`;
  await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat("@segue /history ");
    await vscode.chatResponse(PARSER).waitFor();
    await vscode.screenshot("history");
    await vscode.askInChat(`@segue /new ${question}`);
    await vscode.chatResponse("You").waitFor();
    writeFileSync(go, "");
    await vscode.chatResponse("the model failed").waitFor();
    await waitUntil("the partial answer is stored", async () => (await sandbox.listSessions())[0].eventCount === 2);
  });
  assert.deepEqual(sandbox.loadModelRequests(), [[{ role: "user", content: question }]]);
  const [session] = await sandbox.listSessions();
  assert.deepEqual(contents(await sandbox.loadSession(session.sessionId)), [question, "You "]);
});

test("no message is lost when the server is killed, even during an answer", async () => {
  const go = join(sandbox.root, "go");
  const question = `Please wait for ${go}`;
  const expected = [question, `You asked: ${question}`, "two", "You asked: two"];
  const storedContents = async () => contents(await sandbox.loadSession((await sandbox.listSessions())[0].sessionId));
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${question}`);
    await vscode.chatResponse("You").waitFor();
    assert.equal(sandbox.killServers(), 1);
    writeFileSync(go, "");
    await waitUntil("the answer is stored", async () => (await storedContents()).length === 2);
    assert.equal(sandbox.killServers(), 1);
    await vscode.askInChat("@segue two");
    await vscode.chatResponse("You asked: two").waitFor();
    await waitUntil("the second answer is stored", async () => (await storedContents()).length === 4);
  });
  assert.deepEqual(await storedContents(), expected);
  assert.equal((await sandbox.listSessions()).length, 1);
});

test("an answer is stored with its question, whatever happened to the conversation and the store meanwhile", async () => {
  const go = join(sandbox.root, "go");
  const question = `Please wait for ${go}`;
  const store = dirname(sandbox.database);
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${question}`);
    await vscode.chatResponse("You").waitFor();
    await vscode.runCommand("Segue: New Conversation");
    await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
    renameSync(store, `${store}-away`);
    mkdirSync(store);
    execFileSync(PYTHON, ["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE theirs (x)')", sandbox.database]);
    assert.equal(sandbox.killServers(), 1);
    writeFileSync(go, "");
    await vscode.chatResponse("Not stored yet").waitFor();
    await vscode.statusItem().filter({ hasText: "1 event not stored yet" }).waitFor();
    await vscode.notification("1 event not stored yet").waitFor();
    await vscode.screenshot("unsent");
    sandbox.killServers();
    rmSync(store, { recursive: true });
    renameSync(`${store}-away`, store);
    await vscode.statusItem().click();
    await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
  });
  const [session, ...others] = await sandbox.listSessions();
  assert.deepEqual([others, session.archivedAt !== null], [[], true]);
  assert.deepEqual(contents(await sandbox.loadSession(session.sessionId)), [question, `You asked: ${question}`]);
});

const TURNS = [PARSER, LEXER].flatMap((question) => conversation(question).events);

const describeFork = `A fork of “${PARSER}”: the first 2 events are the same.`;

test("a fork from a turn of a transcript goes on beside the original, which its tooltip names", async () => {
  const [id] = await sandbox.record({ events: TURNS, minutes: 12 });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.transcript("About this").waitFor();
    await vscode.turnAction("Go Back to Here").waitFor();
    assert.equal(await vscode.turnAction("Fork Conversation from Here").count(), 2);
    assert.equal(await vscode.turnAction("Go Back to Here").count(), 1);
    await vscode.screenshot("turn-actions");
    await vscode.turnAction("Fork Conversation from Here").first().click();
    await vscode.statusItem().filter({ hasText: `copy of ${PARSER}`.slice(0, 30) }).waitFor();
    assert.doesNotMatch(await vscode.statusItem().innerText(), /resumed/);
    await vscode.row("copy of Why does").filter({ hasText: /(now|min) · 2 events/ }).hover();
    await vscode.page.locator(".workbench-hover, .monaco-hover").filter({ hasText: describeFork }).waitFor();
    await vscode.screenshot("fork");
    await vscode.transcriptPage().getByRole("button", { name: "Ask @segue" }).click();
    await vscode.notification("There is no language model in VS Code that @segue can ask.").waitFor();
  });
  const sessions = await sandbox.listSessions();
  assert.deepEqual(sessions.map(({ forkedFrom, archivedAt }) => [forkedFrom, archivedAt]), [[id, null], [null, null]]);
  assert.deepEqual(contents(await sandbox.loadSession(sessions[0].sessionId)), contents({ events: TURNS.slice(0, 2) }));
});

test("after going back to a turn, the original is archived, until that is undone", async () => {
  const [id] = await sandbox.record({ events: TURNS, minutes: 12 });
  const load = async () => Object.fromEntries((await sandbox.listSessions()).map((each) => [each.sessionId === id ? "original" : "fork", each]));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.turnAction("Go Back to Here").click();
    const message = vscode.notification("Went back to “Why does the parser drop the last token?”");
    await message.hover(); // it stays while the mouse is over it
    await vscode.row("Why does the parser").filter({ hasText: /(now|min) · 2 events/ }).waitFor();
    await vscode.screenshot("gone-back");
    const { original, fork } = await load();
    assert.notEqual(original.archivedAt, null);
    assert.deepEqual([fork.title, fork.eventCount, fork.archivedAt], [PARSER, 2, null]);
    await message.getByRole("button", { name: "Undo" }).click();
    await vscode.row("Why does the parser").filter({ hasText: /\d+ min · 4 events/ }).waitFor();
    await waitUntil("undone", async () => (await load()).fork.archivedAt !== null);
    assert.equal((await load()).original.archivedAt, null);

    // The same from the view, and undone by the command.
    await vscode.chooseRowAction("Why does the parser", "Go Back in Conversation…");
    await vscode.picks(PARSER).waitFor();
    assert.equal(await vscode.picks(LEXER).count(), 0);
    await vscode.page.keyboard.press("Enter");
    await vscode.row("Why does the parser").filter({ hasText: /(now|min) · 2 events/ }).waitFor();
    await vscode.runCommand("Segue: Undo Go Back");
    await vscode.row("Why does the parser").filter({ hasText: /\d+ min · 4 events/ }).waitFor();
    await waitUntil("undone", async () => (await load()).original.archivedAt === null);
  });
});

test("a conversation is renamed in the view, and gets its automatic title again", async () => {
  const [id] = await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.transcript("About this").waitFor();
    await vscode.chooseRowAction("Why does the parser", "Rename Conversation…");
    await vscode.fillInputBox("Rename Conversation", "  The last token  ");
    await vscode.row("The last token").waitFor();
    await vscode.transcriptPage().getByRole("heading", { name: "The last token", exact: true }).waitFor();
    assert.equal((await sandbox.loadSession(id)).session.title, "The last token");
    await vscode.pressF2("The last token", "Rename Conversation");
    await vscode.fillInputBox("Rename Conversation", "");
    await vscode.row("Why does the parser").waitFor();
  });
  assert.equal((await sandbox.loadSession(id)).session.title, PARSER);
});

test("a conversation is exported from the view and from its transcript, to a private file", async () => {
  const [id] = await sandbox.record(conversation(PARSER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.chooseRowAction("Why does the parser", "Export Conversation…");
    await vscode.picks("HTML page").waitFor();
    await vscode.screenshot("export");
    await vscode.picks("Markdown").click();
    const markdown = join(sandbox.project, await vscode.acceptFileName("last-token.md"));
    await vscode.notification("last-token.md").waitFor();
    assert.equal(readFileSync(markdown, "utf8"), await sandbox.exportSession(id, "markdown"));
    assert.equal(statSync(markdown).mode & 0o777, 0o600);

    await vscode.row("Why does the parser").click();
    await vscode.transcript("About this").waitFor();
    await vscode.page.locator('.editor-actions a[aria-label^="Export Conversation"]').click();
    await vscode.picks("HTML page").click();
    const page = join(sandbox.project, await vscode.acceptFileName("last-token.html"));
    await vscode.notification("last-token.html").waitFor();
    await vscode.screenshot("exported");
    assert.equal(readFileSync(page, "utf8"), await sandbox.exportSession(id, "html"));
  });
});

const MARKER = "The slice drops the end marker.";
/** A conversation whose first answer is not among the events that a transcript shows at first. */
const LONG = { events: [userMessage(PARSER), answer(MARKER), ...Array.from({ length: 2_100 }, (_, index) => answer(`Step ${index}`))] };

test("a search shows what is found while one types, and opens a hit at its event", async () => {
  await sandbox.record({ ...LONG, minutes: 12 }, conversation(LEXER), { ...conversation("Another end marker"), directory: sandbox.createFolder("other"), minutes: 30 });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.runCommand("Segue: Search Conversations…");
    await vscode.typeInPicker("drops");
    const found = vscode.picks("Why does the parser").filter({ hasText: "The slice «drops» the end marker." });
    await found.filter({ hasText: /\d+ min ago/ }).waitFor();
    assert.equal(await vscode.page.locator(".quick-input-list .monaco-list-row").count(), 1);
    await vscode.screenshot("search");
    await vscode.typeInPicker("lexer's");
    await vscode.picks("About this: Name the «lexer's» states").waitFor();
    assert.equal(await found.count(), 0);

    await vscode.typeInPicker("x");
    await vscode.picks("What you search for must have a word of two letters").waitFor();
    await vscode.screenshot("search-refused");
    await vscode.typeInPicker("y".repeat(1_001));
    await vscode.picks("What you search for must have 1 to 1,000 characters.").waitFor();

    await vscode.typeInPicker("MARKER");
    await vscode.picks("«marker»").waitFor();
    assert.equal(await vscode.picks("Another").count(), 0);
    await vscode.page.locator('.quick-input-titlebar a[aria-label="Search Everywhere"]').click();
    await vscode.picks("Another end marker").filter({ hasText: "other" }).first().waitFor();
    await vscode.screenshot("search-everywhere");
    assert.match(await vscode.picks("").first().innerText(), /Why does the parser/); // the newest, not one with such a title
    await vscode.picks("Why does the parser").click();
    await vscode.waitForSelection("marker", MARKER);
    await vscode.screenshot("search-opened");

    // The title of the same conversation leads to the top of the page, which is open already.
    await vscode.runCommand("Segue: Search Conversations…");
    await vscode.typeInPicker('"does the parser"');
    await vscode.activePick("Why «does the parser» drop").waitFor();
    await vscode.page.keyboard.press("Enter");
    await vscode.transcript("Step 2099").waitFor();
    assert.deepEqual(await vscode.transcriptScroll(), { top: 0, isAtEnd: false });
  });
});

test("a search shows more when that is asked for, and goes on from there", async () => {
  await sandbox.record({ events: Array.from({ length: 40 }, (_, index) => answer(`needle ${index}.`)) });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.runCommand("Segue: Search Conversations…");
    await vscode.typeInPicker("needle");
    await vscode.activePick("«needle» 39.").waitFor();
    await vscode.page.keyboard.press("ArrowUp"); // from the first to the last
    await vscode.activePick("Load more…").waitFor();
    await vscode.screenshot("search-more");
    await vscode.page.keyboard.press("Enter");
    await vscode.activePick("«needle» 9.").waitFor();
    await vscode.page.keyboard.press("ArrowUp");
    await vscode.activePick("«needle» 10.").waitFor();
  });
});

test("the search box above the view shows what is found, which opens at its event, until it is cleared", async () => {
  const elsewhere = { ...conversation("Another end marker"), directory: sandbox.createFolder("other") };
  await sandbox.record({ ...LONG, minutes: 12 }, conversation(LEXER), elsewhere);
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Name the lexer").waitFor();
    const box = vscode.searchBox();
    await box.fill("end mark");
    const hit = vscode.row(MARKER);
    await hit.waitFor();
    await vscode.searchStatus("1 hit in 1 conversation.").waitFor();
    assert.deepEqual(await hit.locator(".highlight").allInnerTexts(), ["end", "mark"]);
    assert.equal(await vscode.row("Name the lexer").count(), 0);
    await vscode.screenshot("search-box");

    await box.press("ArrowDown");
    await vscode.focusedRow("Why does the parser").waitFor();
    await vscode.page.keyboard.press("ArrowDown");
    await vscode.focusedRow(MARKER).waitFor();
    await vscode.page.keyboard.press("Enter");
    await vscode.waitForSelection("end", MARKER);

    await box.fill("?");
    await vscode.searchStatus("What you search for must have a word of two letters").waitFor();
    await box.fill("nowhere");
    await vscode.searchStatus("No conversation of this workspace has this.").waitFor();
    assert.equal(await vscode.page.locator(".sidebar").getByText("No conversation of this workspace is recorded yet").isVisible(), false);
    await box.press("Escape");
    await vscode.row("Name the lexer").waitFor();
    assert.equal(await box.inputValue(), "");

    // What is typed is still there, and in effect, after the view was hidden. The button in its header clears it.
    await box.fill("another");
    await vscode.searchStatus("No conversation").waitFor();
    await vscode.page.click('.activitybar a[aria-label^="Explorer"]');
    await vscode.viewHeader().waitFor({ state: "hidden" });
    await vscode.showConversations();
    await vscode.searchStatus("No conversation").waitFor();
    assert.equal(await box.inputValue(), "another");
    await vscode.searchEverywhere().click();
    await vscode.picks("«Another» end marker").first().waitFor();
    await vscode.page.keyboard.press("Escape");
    await vscode.viewHeader().hover();
    await vscode.viewHeader().locator('a[aria-label="Clear Search"]').click();
    await vscode.row("Name the lexer").waitFor();
    await waitUntil("the box is empty", async () => (await box.inputValue()) === "");
  });
});

test("more of what the search box has found is loaded in the view", async () => {
  await sandbox.record({ events: Array.from({ length: 40 }, (_, index) => answer(`needle ${index}.`)) });
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.searchBox().fill("needle");
    await vscode.searchStatus("30 hits in 1 conversation, and more.").waitFor();
    await vscode.row("needle 39.").click();
    await vscode.page.keyboard.press("End");
    await vscode.focusedRow("Load more…").waitFor();
    await vscode.page.keyboard.press("Enter");
    await vscode.searchStatus("40 hits in 1 conversation.").waitFor();
    await vscode.row("needle 9.").waitFor(); // where "Load more…" was
    assert.equal(await vscode.row("Load more…").count(), 0);
  });
});

/** Go on with an imported conversation in its own program. */
async function goOnInProgram(vscode) {
  const choose = async () => {
    await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
    await vscode.picks("Go on in Claude Code").click({ timeout: 10_000 });
  };
  await choose().catch(choose); // the picker closes when the chat takes the focus
}

test("an imported conversation is listed with its program, and goes on there in a terminal", async () => {
  const id = await sandbox.importConversation(PARSER, "It drops the end marker.");
  const bin = sandbox.createFolder("bin");
  const called = join(sandbox.root, "called");
  const program = join(bin, "claude");
  await withWorkbench(sandbox, { path: `${bin}:/usr/bin:/bin` }, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").filter({ hasText: "1 h · 2 events · Claude Code · claude-sonnet-4-5" }).waitFor();
    await goOnInProgram(vscode);
    await vscode.notification("claude is not on the PATH").getByRole("button", { name: "Copy Command" }).click();

    writeFileSync(program, `#!/bin/sh\n{ pwd; printf '%s\\n' "$@"; } >${called}.part\nmv ${called}.part ${called}\necho resumed\nexec sleep 60\n`, { mode: 0o755 });
    await goOnInProgram(vscode);
    await waitUntil("the program is called", () => existsSync(called));
    assert.deepEqual(readFileSync(called, "utf8").trimEnd().split("\n"), [sandbox.project, "--resume", id]);
    await vscode.page.locator(".integrated-terminal").first().waitFor();
    await vscode.screenshot("terminal");

    writeFileSync(program, "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    await goOnInProgram(vscode);
    await vscode.notification("Claude Code ended with code 3").waitFor();

    renameSync(sandbox.project, `${sandbox.project}-gone`);
    await goOnInProgram(vscode);
    await vscode.notification("The folder of this conversation is gone").waitFor();
    await vscode.screenshot("folder-gone");

    await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
    await vscode.picks("Go on with @segue").click();
    await vscode.statusItem().filter({ hasText: `${PARSER} — resumed` }).waitFor();
  });
});

test("@segue goes on from the turn that was picked, and the button undoes it", async () => {
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    for (const question of ["one", "two"]) {
      await vscode.askInChat(`@segue ${question}`);
      await vscode.chatResponse(`You asked: ${question}`).waitFor();
    }
    await waitUntil("both answers are stored", async () => (await sandbox.listSessions())[0].eventCount === 4);
    await vscode.askInChat("@segue /back another two");
    await vscode.picks("one").waitFor();
    await vscode.page.keyboard.press("Enter");
    await vscode.chatResponse("You asked: another two").filter({ hasText: "Went back to “one”." }).waitFor();
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0].eventCount === 4);
    await vscode.screenshot("back");
    const [fork, original] = await sandbox.listSessions();
    assert.deepEqual([fork.forkedFrom, original.archivedAt !== null], [original.sessionId, true]);
    assert.deepEqual([fork.agent, fork.model], ["@segue", "Echo"]);
    assert.deepEqual(contents(await sandbox.loadSession(fork.sessionId)), ["one", "You asked: one", "another two", "You asked: another two"]);
    await vscode.chatResponse("Went back").locator(".monaco-button").filter({ hasText: "Undo Go Back" }).click();
    await waitUntil("undone", async () => (await sandbox.listSessions()).find(({ forkedFrom }) => forkedFrom !== null).archivedAt !== null);
    await vscode.askInChat("@segue three");
    await vscode.chatResponse("You asked: three").waitFor();
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0].eventCount === 6);
    const [first] = await sandbox.listSessions();
    assert.deepEqual([first.sessionId, first.archivedAt], [original.sessionId, null]);
  });
  const asked = sandbox.loadModelRequests().map((messages) => messages.map(({ content }) => content));
  assert.deepEqual(asked[2], ["one", "You asked: one", "another two"]);
});

test("conversations of a folder that was moved here come along, if the user says so", async () => {
  const old = sandbox.createFolder("old");
  mkdirSync(join(old, ".git"));
  for (const folder of [old, sandbox.project]) {
    writeFileSync(join(folder, ".git", "config"), '[remote "origin"]\n\turl = git@github.com:org/repo.git\n');
  }
  const [id] = await sandbox.record(conversation(LEXER, { directory: old, minutes: 3_000 }));
  rmSync(old, { recursive: true });
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.showConversations();
    await vscode.askInChat(`@segue ${PARSER}`);
    const question = vscode.notification(`was it moved to ${sandbox.project}`);
    await question.filter({ hasText: LEXER }).getByRole("button", { name: "Yes, Take Along" }).click();
    await vscode.row("Name the lexer").waitFor();
    await vscode.screenshot("moved");
  });
  const { session } = await sandbox.loadSession(id);
  assert.equal(session.directory, sandbox.project);
});

test("two windows in one conversation end in two linked conversations", async () => {
  const go = join(sandbox.root, "go");
  const question = `Please wait for ${go}`;
  await withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
    await vscode.askInChat(`@segue ${question}`);
    await vscode.chatResponse("You").waitFor();
    const other = await vscode.openWindow();
    await other.askInChat("@segue from the other window");
    await other.chatResponse("You asked: from the other window").waitFor();
    await waitUntil("the other window's answer is stored", async () => (await sandbox.listSessions())[0].eventCount >= 3);
    writeFileSync(go, "");
    await vscode.chatResponse(`You asked: ${question}`).waitFor();
    await vscode.notification("Another window wrote first; this one goes on in “copy of Please wait").waitFor();
    await vscode.showConversations();
    await vscode.row("copy of Please wait").waitFor();
    await vscode.screenshot("two-windows");
    await vscode.askInChat("@segue and on");
    await vscode.chatResponse("You asked: and on").waitFor();
    await waitUntil("the answer is stored", async () => (await sandbox.listSessions())[0].eventCount === 4);
  });
  const [fork, original, ...others] = await sandbox.listSessions();
  assert.deepEqual([others, fork.forkedFrom, fork.forkedAt], [[], original.sessionId, 1]);
  assert.deepEqual([original.title, fork.title].map((title) => title.slice(0, 20)), ["Please wait for /tmp", "copy of Please wait "]);
  assert.deepEqual(contents(await sandbox.loadSession(fork.sessionId)), [question, `You asked: ${question}`, "and on", "You asked: and on"]);
  const ofOriginal = contents(await sandbox.loadSession(original.sessionId));
  assert.deepEqual(ofOriginal, [question, "from the other window", "You asked: from the other window"]);
});

test("a conversation is begun in Neovim, followed here, gone on with here, and followed in Neovim", async () => {
  await withNeovim(sandbox, (neovim) =>
    withWorkbench(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
      await vscode.showConversations();
      await neovim.append("user_message", PARSER);
      await vscode.row("Why does the parser").click();
      await vscode.transcript(PARSER).waitFor();
      await neovim.append("text", "It stops one token early.");
      await vscode.transcript("It stops one token early.").waitFor();
      await neovim.command("Segue show");
      await neovim.shows("It stops one token early.");
      await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
      await vscode.askInChat("@segue and now?");
      await vscode.chatResponse("You asked: and now?").waitFor();
      await neovim.shows("You asked: and now?");
    }),
  );
  const [session, ...others] = await sandbox.listSessions();
  assert.deepEqual(others, []);
  const said = contents(await sandbox.loadSession(session.sessionId));
  assert.deepEqual(said, [PARSER, "It stops one token early.", "and now?", "You asked: and now?"]);
});

/** Create a folder with links to these programs only, to be used as the PATH. */
function createPath(...programs) {
  const folder = sandbox.createFolder("bin");
  for (const program of programs) {
    symlinkSync(program, join(folder, program.split("/").at(-1)));
  }
  return folder;
}

/** Proxies that refuse connections: every network request fails. */
const OFFLINE = Object.fromEntries(
  ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map((name) => [name, "http://127.0.0.1:9"]),
);
const SYSTEM_PYTHON = execFileSync(PYTHON, ["-c", "import sys; print(sys._base_executable)"]).toString().trim();

/** Open a conversation with the bundled server; returns the `pyvenv.cfg` of its environment. */
async function startBundledServer(...programs) {
  const path = createPath("/bin/sh", "/usr/bin/env", ...programs);
  symlinkSync(SYSTEM_PYTHON, join(path, "python3"));
  return withWorkbench(sandbox, { path, env: OFFLINE, machine: {}, isInstalled: true }, async (vscode) => {
    await vscode.showConversations();
    await vscode.runCommand("Segue: New Conversation");
    await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
    const storage = join(sandbox.root, "user", "User", "globalStorage", "segue.segue");
    const environments = readdirSync(storage);
    assert.deepEqual(environments.map((name) => name.replace(/[0-9a-f]{16}$/, "STAMP")), [`server-linux-${process.arch}-STAMP`]);
    return readFileSync(join(storage, environments[0], "pyvenv.cfg"), "utf8");
  });
}

test("the bundled server is installed offline with Python alone", async () => {
  assert.doesNotMatch(await startBundledServer(SYSTEM_PYTHON), /^uv = /m);
});

test("the bundled server is installed offline with uv", async () => {
  assert.match(await startBundledServer(SYSTEM_PYTHON, join(dirname(PYTHON), "uv")), /^uv = /m);
});

test("without Python, a message names what is missing and offers help", async () => {
  await withWorkbench(sandbox, { path: createPath("/bin/sh"), machine: {} }, async (vscode) => {
    await vscode.showConversations();
    const message = vscode.notification("Segue needs Python 3.11 or later");
    await message.waitFor();
    for (const button of ["Show Log", "Copy Install Command", "Try Again"]) {
      await message.getByRole("button", { name: button }).waitFor();
    }
    assert.match((await vscode.welcome())[0], /^Segue needs Python 3.11 or later/);
    for (const button of ["Try Again", "Copy Install Command", "Show Log"]) {
      await vscode.page.locator(".sidebar .welcome-view-content .monaco-button").filter({ hasText: button }).waitFor();
    }
    await vscode.screenshot("no-python");
    const countMessages = async () => (await vscode.listNotifications()).filter((text) => text.includes("Segue")).length;
    assert.equal(await countMessages(), 1); // another one misses git
    await vscode.runCommand("Notifications: Clear All Notifications");
    await vscode.runCommand("Segue: New Conversation"); // who asks gets an answer
    await message.waitFor();
    assert.equal(await countMessages(), 1);
  });
});

test("conversations of other programs are imported, and keep growing, after the answer to a question", async () => {
  const record = (number, type, content) => ({
    type, uuid: `00000000-0000-4000-8000-00000000000${number}`, cwd: sandbox.project,
    timestamp: new Date().toISOString(), message: { role: type, content },
  });
  const project = join(sandbox.createFolder("home"), ".claude", "projects", "-p");
  const transcript = join(project, "1b0f0a52-7d0a-4b0f-9d9a-000000000001.jsonl");
  mkdirSync(project, { recursive: true });
  writeFileSync(transcript, `${JSON.stringify(record(1, "user", PARSER))}\n`);
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    const question = vscode.notification("Import conversations of Claude Code into Segue");
    await question.getByRole("button", { name: "Yes" }).click();
    await vscode.row("Why does the parser").filter({ hasText: "1" }).waitFor();
    appendFileSync(transcript, `${JSON.stringify(record(2, "assistant", [{ type: "text", text: "Because" }]))}\n`);
    await vscode.row("Why does the parser").filter({ hasText: "2" }).waitFor();
  });
});

test("a workspace cannot choose the server or the database, and starts no program before it is trusted", async () => {
  mkdirSync(join(sandbox.project, ".vscode"));
  const marker = join(sandbox.root, "taken");
  const settings = {
    "segue.server.command": ["/bin/sh", "-c", `touch ${marker}`],
    "segue.database": join(sandbox.root, "theirs.db"),
  };
  writeFileSync(join(sandbox.project, ".vscode", "settings.json"), JSON.stringify(settings));
  for (const name of ["segue.py", "attr.py", "uuid6.py", "sitecustomize.py"]) {
    writeFileSync(join(sandbox.project, name), `open(${JSON.stringify(marker)}, "w")`);
  }
  // The environment of the editor may lead there, and so may a command without `-I`.
  const env = { PYTHONPATH: `.:${sandbox.project}`, PYTHONHOME: sandbox.project };
  const machine = { "segue.server.command": [PYTHON, "-m", "segue", "lsp"] };
  await sandbox.importConversation(PARSER, "It drops the end marker.");
  const bin = sandbox.createFolder("bin");
  writeFileSync(join(bin, "claude"), `#!/bin/sh\ntouch ${marker}\n`, { mode: 0o755 });
  const path = `${bin}:/usr/bin:/bin`;
  for (const isTrusted of [true, false]) {
    await withWorkbench(sandbox, { isTrusted, env, machine, path }, async (vscode) => {
      await vscode.showConversations();
      await vscode.runCommand("Segue: New Conversation");
      await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
      if (!isTrusted) {
        await goOnInProgram(vscode);
        const message = vscode.notification("Claude Code is not started in a workspace that is not trusted");
        await message.getByRole("button", { name: "Manage Workspace Trust" }).waitFor();
      }
    });
  }
  assert.deepEqual([existsSync(marker), existsSync(settings["segue.database"])], [false, false]);
});

test("the API works for other extensions", async () => {
  await withWorkbench(sandbox, { extensions: ["api-tests"] }, async () => {
    const report = sandbox.apiReport;
    await waitUntil("the API tests have run", () => existsSync(report));
    const results = JSON.parse(readFileSync(report, "utf8"));
    const failed = results.filter(({ ok }) => !ok);
    console.log(`${results.length - failed.length} passed, ${failed.length} failed`);
    assert.deepEqual(failed, []);
    assert.ok(results.length >= 12);
  });
});
