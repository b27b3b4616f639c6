// What a person does in a real VS Code, and sees.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { Place, PYTHON, until, within } from "./workbench.mjs";

const PARSER = "Why does the parser drop the last token?";
const LEXER = "Name the lexer's states";
let place;

beforeEach(() => {
  place = new Place();
});

afterEach(() => place.remove());

const said = (content) => ({ type: "user_message", data: { content } });
const answered = (content) => ({ type: "text", data: { content } });
const conversation = (first, more = {}) => ({ events: [said(first), answered(`About this: ${first}`)], ...more });
const messages = ({ events }) => events.filter(({ type }) => type !== "system_context").map(({ data }) => data.content);

test("a conversation of another editor is listed, comes by itself, and is resumed", async () => {
  const [parser] = await place.recorded(conversation(PARSER, { minutes: 12 }));
  await within(place, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").filter({ hasText: "12 min · 2" }).waitFor();
    await place.recorded(conversation(LEXER));
    await vscode.row("Name the lexer").filter({ hasText: "now · 2" }).waitFor();
    await vscode.picture("listed");
    await vscode.press("Why does the parser", "Resume Conversation…");
    await vscode.status().filter({ hasText: `${PARSER} — continued, last active 12 min ago` }).waitFor();
    await vscode.picture("resumed");
  });
  assert.deepEqual(messages(await place.stored(parser)).length, 2);
});

test("the picker finds by typing, archived ones too, and draws no icons of what was said", async () => {
  await place.recorded(conversation(PARSER), conversation("Draw $(trash) here"), conversation(LEXER));
  await within(place, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.press("Name the lexer", "Archive Conversation");
    await vscode.row("Name the lexer").waitFor({ state: "detached" });
    await vscode.run("Segue: Resume Conversation…");
    const rows = vscode.page.locator(".quick-input-list .monaco-list-row");
    await rows.filter({ hasText: "Draw $(trash) here" }).waitFor();
    await rows.filter({ hasText: LEXER }).waitFor();
    await vscode.picture("picker");
    await vscode.page.keyboard.type("parser");
    await rows.filter({ hasText: LEXER }).waitFor({ state: "detached" });
    await vscode.page.keyboard.press("Enter");
    await vscode.status().filter({ hasText: PARSER }).waitFor();
  });
});

/** While VS Code reads the rows anew, it gives a command of their menu no row: then a person tries again. */
async function askToDelete(vscode, title) {
  for (let tries = 0; tries < 4; tries += 1) {
    await vscode.choose(title, "Delete Conversation");
    const asked = await vscode.dialog().waitFor({ timeout: 8_000 }).then(() => true, () => false);
    if (asked) {
      return;
    }
    await vscode.page.keyboard.press("Escape");
  }
}

test("a conversation is shown, archived, brought back, and deleted only after a question", async () => {
  const [id] = await place.recorded(conversation(PARSER));
  await within(place, {}, async (vscode) => {
    await vscode.showConversations();
    await vscode.row("Why does the parser").click();
    await vscode.editor("About this").waitFor();
    await vscode.picture("transcript");

    await vscode.press("Why does the parser", "Archive Conversation");
    await vscode.row("Why does the parser").waitFor({ state: "detached" });
    assert.notEqual((await place.stored(id)).session.archivedAt, null);
    await vscode.page.click('.pane-header a[aria-label^="Views and More"], .composite.title a[aria-label^="Views and More"]');
    await vscode.page.locator(".context-view .action-label").filter({ hasText: "Show Archived" }).click();
    await vscode.press("Why does the parser", "Unarchive Conversation");
    await until("unarchived", async () => (await place.stored(id)).session.archivedAt === null);

    await askToDelete(vscode, "Why does the parser");
    await vscode.dialog().filter({ hasText: "2 events will be removed for good" }).waitFor();
    await vscode.picture("delete");
    await vscode.page.keyboard.press("Escape");
    await vscode.dialog().waitFor({ state: "detached" });
    assert.equal((await place.sessions()).length, 1);
    await askToDelete(vscode, "Why does the parser");
    await vscode.dialog().getByRole("button", { name: "Delete" }).click();
    await vscode.row("Why does the parser").waitFor({ state: "detached" });
    assert.deepEqual(await place.sessions(), []);
  });
});

test("the question is on disk before the model is asked, and the answer when it ends", async () => {
  const go = join(place.root, "go");
  const question = `Please wait for ${go}`;
  await within(place, { extensions: ["model"] }, async (vscode) => {
    await vscode.ask(`@segue ${question}`);
    await until("the model is asked", () => place.asked().length === 1);
    const [session] = await place.sessions();
    assert.deepEqual(messages(await place.stored(session.sessionId)), [question]);
    writeFileSync(go, "");
    await vscode.answer(`You asked: ${question}`).waitFor();
    await until("the answer is stored", async () => messages(await place.stored(session.sessionId)).length === 2);
    const { events } = await place.stored(session.sessionId);
    assert.deepEqual(events[1].data, { content: `You asked: ${question}`, model: "tests/echo" });
  });
});

test("after a restart of the window the model is given what was said before", async () => {
  await within(place, { extensions: ["model"] }, async (vscode) => {
    await vscode.ask(`@segue ${PARSER}`);
    await vscode.answer(`You asked: ${PARSER}`).waitFor();
    await until("the answer is stored", async () => (await place.sessions())[0]?.eventCount === 2);
  });
  await within(place, { extensions: ["model"] }, async (vscode) => {
    await vscode.ask("@segue And what did you say?");
    await vscode.answer("You asked: And what did you say?").waitFor();
    await vscode.picture("followed");
    await until("the answer is stored", async () => (await place.sessions())[0]?.eventCount === 5);
  });
  const given = place.asked().at(-1);
  assert.deepEqual(given.slice(0, 2), [
    { role: "user", text: PARSER },
    { role: "assistant", text: `You asked: ${PARSER}` },
  ]);
  assert.match(given[2].text, /a new invocation of the editor begins here/);
  assert.deepEqual(given.at(-1), { role: "user", text: "And what did you say?" });
});

test("/new begins afresh, /history lists, and an answer that fails keeps what there is of it", async () => {
  const go = join(place.root, "go");
  const question = `Please wait for ${go} and fail`;
  await place.recorded(conversation(PARSER));
  await within(place, { extensions: ["model"] }, async (vscode) => {
    await vscode.ask("@segue /history ");
    await vscode.answer(PARSER).waitFor();
    await vscode.picture("history");
    await vscode.ask(`@segue /new ${question}`);
    await vscode.answer("You").waitFor();
    writeFileSync(go, "");
    await vscode.answer("the model failed").waitFor();
    await until("the half answer is stored", async () => (await place.sessions())[0].eventCount === 2);
  });
  assert.deepEqual(place.asked(), [[{ role: "user", text: question }]]);
  const [session] = await place.sessions();
  assert.deepEqual(messages(await place.stored(session.sessionId)), [question, "You "]);
});

test("a server that is killed, also in the middle of an answer, costs no word of the conversation", async () => {
  const go = join(place.root, "go");
  const question = `Please wait for ${go}`;
  const whole = [question, `You asked: ${question}`, "two", "You asked: two"];
  const stored = async () => messages(await place.stored((await place.sessions())[0].sessionId));
  await within(place, { extensions: ["model"] }, async (vscode) => {
    await vscode.ask(`@segue ${question}`);
    await vscode.answer("You").waitFor();
    assert.equal(place.killServers(), 1);
    writeFileSync(go, "");
    await until("the answer is stored", async () => (await stored()).length === 2);
    assert.equal(place.killServers(), 1);
    await vscode.ask("@segue two");
    await vscode.answer("You asked: two").waitFor();
    await until("the second answer is stored", async () => (await stored()).length === 4);
  });
  assert.deepEqual(await stored(), whole);
  assert.equal((await place.sessions()).length, 1);
});

/** A PATH with these programs and no others. */
function pathOf(...programs) {
  const folder = place.folder("bin");
  for (const program of programs) {
    symlinkSync(program, join(folder, program.split("/").at(-1)));
  }
  return folder;
}

/** No proxy answers there: whoever asks the network for anything fails. */
const OFFLINE = Object.fromEntries(
  ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map((name) => [name, "http://127.0.0.1:9"]),
);
const SYSTEM_PYTHON = execFileSync(PYTHON, ["-c", "import sys; print(sys._base_executable)"]).toString().trim();

/** Open a conversation with the server that the extension brings; returns how its environment was made. */
async function withItsOwnServer(...programs) {
  const path = pathOf("/bin/sh", "/usr/bin/env", ...programs);
  symlinkSync(SYSTEM_PYTHON, join(path, "python3"));
  return within(place, { path, env: OFFLINE, machine: {}, isInstalled: true }, async (vscode) => {
    await vscode.showConversations();
    await vscode.run("Segue: New Conversation");
    await vscode.status().filter({ hasText: "new conversation" }).waitFor();
    const storage = join(place.root, "user", "User", "globalStorage", "segue.segue");
    const environments = readdirSync(storage);
    assert.deepEqual(environments.map((name) => name.replace(/[0-9a-f]{16}$/, "STAMP")), ["server-STAMP"]);
    return readFileSync(join(storage, environments[0], "pyvenv.cfg"), "utf8");
  });
}

test("the extension brings its server: offline, with a Python alone", async () => {
  assert.doesNotMatch(await withItsOwnServer(SYSTEM_PYTHON), /^uv = /m);
});

test("the extension brings its server: offline, with uv", async () => {
  assert.match(await withItsOwnServer(SYSTEM_PYTHON, join(dirname(PYTHON), "uv")), /^uv = /m);
});

test("without Python, a message says what is missing and offers help", async () => {
  await within(place, { path: pathOf("/bin/sh"), machine: {} }, async (vscode) => {
    await vscode.showConversations();
    const message = vscode.notification("Segue needs Python 3.11 or later");
    await message.waitFor();
    for (const button of ["Open Log", "Copy Install Command", "Try Again"]) {
      await message.getByRole("button", { name: button }).waitFor();
    }
    await vscode.picture("no-python");
  });
});

test("a workspace cannot choose the server or the database", async () => {
  mkdirSync(join(place.project, ".vscode"));
  const taken = join(place.root, "taken");
  const settings = {
    "segue.server.command": ["/bin/sh", "-c", `touch ${taken}`],
    "segue.database": join(place.root, "theirs.db"),
  };
  writeFileSync(join(place.project, ".vscode", "settings.json"), JSON.stringify(settings));
  writeFileSync(join(place.project, "segue.py"), `open(${JSON.stringify(taken)}, "w")`);
  for (const isTrusted of [true, false]) {
    await within(place, { isTrusted }, async (vscode) => {
      await vscode.showConversations();
      await vscode.run("Segue: New Conversation");
      await vscode.status().filter({ hasText: "new conversation" }).waitFor();
    });
  }
  assert.deepEqual([existsSync(taken), existsSync(settings["segue.database"])], [false, false]);
});

test("other extensions are served by the API", async () => {
  await within(place, { extensions: ["host"] }, async () => {
    const report = join(place.root, "host.json");
    await until("the tests in the host have run", () => existsSync(report));
    const results = JSON.parse(readFileSync(report, "utf8"));
    const failed = results.filter(({ ok }) => !ok);
    console.log(`${results.length - failed.length} passed, ${failed.length} failed`);
    assert.deepEqual(failed, []);
    assert.ok(results.length >= 9);
  });
});
