// End-to-end tests: what a user does and sees in a real VS Code.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { PYTHON, Sandbox, waitUntil, withWorkbench } from "./workbench.mjs";

const PARSER = "Why does the parser drop the last token?";
const LEXER = "Name the lexer's states";
let sandbox;

beforeEach(() => {
  sandbox = new Sandbox();
});

afterEach(() => sandbox.remove());

const userMessage = (content) => ({ type: "user_message", data: { content } });
const answer = (content) => ({ type: "text", data: { content } });
const conversation = (question, options = {}) => ({ events: [userMessage(question), answer(`About this: ${question}`)], ...options });
const contents = ({ events }) => events.filter(({ type }) => type !== "system_context").map(({ data }) => data.content);

test("conversations of another editor are listed, appear without a refresh, and can be resumed", async () => {
  const [parser] = await sandbox.record(conversation(PARSER, { minutes: 12 }));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").filter({ hasText: "12 min · 2" }).waitFor();
    await sandbox.record(conversation(LEXER));
    await vscode.row("Name the lexer").filter({ hasText: "now · 2" }).waitFor();
    await vscode.screenshot("listed");
    await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
    await vscode.statusItem().filter({ hasText: `${PARSER} — resumed, last active 12 min ago` }).waitFor();
    await vscode.screenshot("resumed");
  });
  assert.deepEqual(contents(await sandbox.loadSession(parser)).length, 2);
});

test("the picker filters by typing, lists archived conversations, and escapes icon syntax", async () => {
  await sandbox.record(conversation(PARSER), conversation("Draw $(trash) here"), conversation(LEXER));
  await withWorkbench(sandbox, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.clickRowAction("Name the lexer", "Archive Conversation");
    await vscode.row("Name the lexer").waitFor({ state: "detached" });
    await vscode.runCommand("Segue: Resume Conversation…");
    const rows = vscode.page.locator(".quick-input-list .monaco-list-row");
    await rows.filter({ hasText: "Draw $(trash) here" }).waitFor();
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
    await vscode.editor("About this").waitFor();
    await vscode.screenshot("transcript");

    await vscode.clickRowAction("Why does the parser", "Archive Conversation");
    await vscode.row("Why does the parser").waitFor({ state: "detached" });
    assert.notEqual((await sandbox.loadSession(id)).session.archivedAt, null);
    await vscode.page.click('.pane-header a[aria-label^="Views and More"], .composite.title a[aria-label^="Views and More"]');
    await vscode.page.locator(".context-view .action-label").filter({ hasText: "Show Archived" }).click();
    await vscode.clickRowAction("Why does the parser", "Unarchive Conversation");
    await waitUntil("unarchived", async () => (await sandbox.loadSession(id)).session.archivedAt === null);

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
  });
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
    for (const button of ["Open Log", "Copy Install Command", "Try Again"]) {
      await message.getByRole("button", { name: button }).waitFor();
    }
    await vscode.screenshot("no-python");
  });
});

test("a workspace cannot choose the server or the database", async () => {
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
  for (const isTrusted of [true, false]) {
    await withWorkbench(sandbox, { isTrusted, env, machine }, async (vscode) => {
      await vscode.showConversations();
      await vscode.runCommand("Segue: New Conversation");
      await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
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
    assert.ok(results.length >= 9);
  });
});
