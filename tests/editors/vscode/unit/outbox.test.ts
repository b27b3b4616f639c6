// Tests the outbox against a real server: killed, restarted, and with another window that appends too.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { Outbox } from "../../../../editors/vscode/src/outbox.ts";
import { isKind } from "../../../../editors/vscode/src/requests.ts";
import { OTHER_PROGRAM, PYTHON, TestServer } from "./testServer.ts";

let folder: string;
let server: TestServer;
let outbox: Outbox;
const replacements: [string, string][] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "segue-"));
  server = await TestServer.start(folder);
  outbox = new Outbox({
    request: (method, params) => server.request(method, params),
    waitForRestart: (generation) => server.waitForRestart(generation),
    onAppended: () => {},
    onReplaced: (oldId, { session }) => replacements.push([oldId, session.sessionId]),
  });
});

afterEach(async () => {
  await server.end();
  rmSync(folder, { recursive: true });
  replacements.length = 0;
});

const userMessage = (content: string) => ({ type: "user_message", data: { content } });

async function openNew(): Promise<string> {
  const { session } = await server.request("session/open", { workspace: folder, mode: "new" });
  outbox.registerOpened(session);
  return session.sessionId;
}

/** The user messages of a session in stored order, without boundaries. Asserts that `seq` has no gaps. */
async function loadMessages(sessionId: string): Promise<unknown[]> {
  const { events } = await server.request("session/events", { sessionId, limit: 1_000 });
  assert.deepEqual(events.map(({ seq }) => seq), events.map((_, index) => index + 1));
  const messages = events.filter(({ type }) => type === "user_message");
  return messages.map(({ data }) => (data as { content: unknown }).content);
}

test("concurrent appends are stored in the order of the calls", async () => {
  const id = await openNew();
  const contents = Array.from({ length: 50 }, (_, index) => `message ${index}`);
  await Promise.all(contents.map((content) => outbox.append(id, [userMessage(content)])));
  assert.deepEqual(await loadMessages(id), contents);
});

test("appends that were not acknowledged when the server was killed are resent and stored once", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  const contents = Array.from({ length: 50 }, (_, index) => `message ${index}`);
  const all = Promise.all(contents.map((content) => outbox.append(id, [userMessage(content)])));
  await server.killAndRestart();
  outbox.handleServerRestart();
  await all;
  assert.deepEqual(await loadMessages(id), ["first", ...contents]);
});

test("an append whose response was lost is not stored twice", async () => {
  const id = await openNew();
  server.loseNextResponse = true;
  const appended = await outbox.append(id, [userMessage("once")]);
  assert.equal(appended.duplicates, 1);
  assert.deepEqual(await loadMessages(id), ["once"]);
});

test("a session without stored events is replaced by a new one when the server was killed", async () => {
  const id = await openNew();
  await server.killAndRestart();
  outbox.handleServerRestart();
  const { sessionId } = await outbox.append(id, [userMessage("first")]);
  assert.deepEqual(replacements, [[id, sessionId]]);
  await outbox.append(id, [userMessage("second")]);
  assert.deepEqual(await loadMessages(sessionId), ["first", "second"]);
});

test("drain resolves when all appends are stored", async () => {
  const id = await openNew();
  const contents = Array.from({ length: 20 }, (_, index) => `message ${index}`);
  for (const content of contents) {
    void outbox.append(id, [userMessage(content)]);
  }
  await outbox.drain();
  assert.deepEqual(await loadMessages(id), contents);
});

test("a session that was deleted elsewhere is not recreated", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await server.request("session/delete", { sessionId: id });
  await server.killAndRestart();
  outbox.handleServerRestart();
  await assert.rejects(outbox.append(id, [userMessage("second")]), (error) => isKind(error, "SessionNotFound"));
});

test("an append after unseen events of another window is refused with HeadMoved", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  const other = await TestServer.start(folder);
  await other.request("session/open", { sessionId: id });
  await other.request("session/append", { sessionId: id, events: [userMessage("from elsewhere")] });
  await other.end();
  await assert.rejects(outbox.append(id, [userMessage("second")]), (error) => isKind(error, "HeadMoved"));
  outbox.registerOpened((await server.request("session/open", { sessionId: id })).session);
  await outbox.append(id, [userMessage("second")]);
  assert.deepEqual(await loadMessages(id), ["first", "from elsewhere", "second"]);
});

test("reopening after a restart does not adopt a head that this window has not seen", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await server.killAndRestart();
  outbox.handleServerRestart();
  await server.request("session/open", { sessionId: id });
  await server.request("session/append", { sessionId: id, events: [userMessage("from elsewhere")] });
  await assert.rejects(outbox.append(id, [userMessage("second")]), (error) => isKind(error, "HeadMoved"));
});

test("a refused event does not block later appends", async () => {
  const id = await openNew();
  const refused = outbox.append(id, [{ type: "user_message", data: {} }]);
  const later = outbox.append(id, [userMessage("later")]);
  await assert.rejects(refused, /content/);
  await later;
  assert.deepEqual(await loadMessages(id), ["later"]);
});

test("appending to a session that is not open in the server opens it", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await server.request("session/close", { sessionId: id });
  await outbox.append(id, [userMessage("second")]);
  assert.deepEqual(await loadMessages(id), ["first", "second"]);
});

test("attempts to store are repeated after growing pauses, and further appends do not shorten them", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await server.moveStoreAway((path) => execFileSync(PYTHON, ["-I", "-c", OTHER_PROGRAM, path]));
  const attempts: number[] = [];
  const requests = server.request.bind(server);
  server.request = (method, params) => {
    if (method === "session/open") {
      attempts.push(Date.now());
    }
    return requests(method, params);
  };
  const appends = [outbox.append(id, [userMessage("second")])];
  while (attempts.length < 3) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    appends.push(outbox.append(id, []));
  }
  const [first = 0, second = 0, third = 0] = attempts;
  assert.ok(second - first >= 450, `${second - first} ms`);
  assert.ok(third - second >= 950, `${third - second} ms`);
  await server.moveStoreBack();
  const retrying = setInterval(() => outbox.retryNow(), 100); // an attempt that is under way may still fail
  await Promise.all(appends);
  clearInterval(retrying);
  assert.deepEqual(await loadMessages(id), ["first", "second"]);
});
