// Tests the outbox against a real server: killed, restarted, and with another window that appends too.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import type { AppendOptions } from "../../../../editors/vscode/segue.d.ts";
import { Outbox } from "../../../../editors/vscode/src/outbox.ts";
import type { Session } from "../../../../editors/vscode/src/protocol.ts";
import { isKind } from "../../../../editors/vscode/src/requests.ts";
import { OTHER_PROGRAM, PYTHON, TestServer } from "./testServer.ts";

let folder: string;
let server: TestServer;
let outbox: Outbox;
const replacements: [string, string][] = [];
const forks: [string, string][] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "segue-"));
  server = await TestServer.start(folder);
  outbox = new Outbox({
    request: (method, params) => server.request(method, params),
    waitForRestart: (generation) => server.waitForRestart(generation),
    onAppended: () => {},
    onForked: (oldId, { session }) => forks.push([oldId, session.sessionId]),
    onReplaced: (oldId, { session }) => replacements.push([oldId, session.sessionId]),
  });
});

afterEach(async () => {
  await server.end();
  rmSync(folder, { recursive: true });
  replacements.length = 0;
  forks.length = 0;
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
  server.loseNextResponseTo = "session/append";
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

/** Append to a session through another server, as another window would. */
async function appendElsewhere(sessionId: string, ...contents: string[]): Promise<void> {
  const other = await TestServer.start(folder);
  await other.request("session/open", { sessionId });
  await other.request("session/append", { sessionId, events: contents.map(userMessage) });
  await other.end();
}

async function loadSession(id: string): Promise<Session> {
  const { sessions } = await server.request("session/list", { archived: true });
  const session = sessions.find(({ sessionId }) => sessionId === id);
  assert.ok(session, id);
  return session;
}

test("what follows unseen events of another window goes to one fork, with the same ids and in its order", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await appendElsewhere(id, "from elsewhere");
  const waiting = ["second", "third"].map((content) => outbox.append(id, [{ ...userMessage(content), id: content }]));
  const appended = await Promise.all(waiting);
  const later = await outbox.append(id, [userMessage("by the old id")]);
  const fork = later.sessionId;
  await outbox.append(fork, [userMessage("by the new id")]);
  await outbox.append(id, [userMessage("by the old id again")]);

  assert.deepEqual(forks, [[id, fork]]);
  assert.deepEqual(appended.map(({ sessionId, events }) => [sessionId, events[0]?.id]), [[fork, "second"], [fork, "third"]]);
  const contents = ["first", "second", "third", "by the old id", "by the new id", "by the old id again"];
  assert.deepEqual(await loadMessages(fork), contents);
  assert.deepEqual(await loadMessages(id), ["first", "from elsewhere"]);
  const [original, copy] = [await loadSession(id), await loadSession(fork)];
  assert.deepEqual([copy.forkedFrom, copy.forkedAt, copy.archivedAt, original.archivedAt], [id, 1, null, null]);
  assert.deepEqual([original.title, copy.title], ["first", "copy of first"]);
});

test("another window that appends to the fork leads to a fork of the fork", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await appendElsewhere(id, "from elsewhere");
  const { sessionId: fork } = await outbox.append(id, [userMessage("second")]);
  await appendElsewhere(fork, "from elsewhere");
  const { sessionId: next } = await outbox.append(id, [userMessage("third")]);
  assert.deepEqual(forks, [[id, fork], [fork, next]]);
  assert.deepEqual(await loadMessages(next), ["first", "second", "third"]);
});

test("a fork whose response was lost is made once", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await appendElsewhere(id, "from elsewhere");
  server.loseNextResponseTo = "session/fork";
  const { sessionId } = await outbox.append(id, [userMessage("second")]);
  assert.deepEqual(await loadMessages(sessionId), ["first", "second"]);
  assert.equal((await server.request("session/list", {})).sessions.length, 2);
});

test("what was stored before its response was lost belongs to the head that this window knows", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  server.loseNextResponseTo = "session/append";
  server.canStart = false;
  const second = outbox.append(id, [userMessage("second")]);
  while (outbox.unsent.reason === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await appendElsewhere(id, "from elsewhere");
  server.canStart = true;
  outbox.retryNow();
  assert.equal((await second).sessionId, id);
  const { sessionId } = await outbox.append(id, [userMessage("third")]);
  assert.deepEqual(await loadMessages(sessionId), ["first", "second", "third"]);
});

test("an event that is sent again later does not move the head back", async () => {
  const id = await openNew();
  await outbox.append(id, [{ ...userMessage("first"), id: "mine" }]);
  await outbox.append(id, [userMessage("second")]);
  assert.equal((await outbox.append(id, [{ ...userMessage("first"), id: "mine" }])).duplicates, 1);
  await outbox.append(id, [userMessage("third")]);
  assert.deepEqual([await loadMessages(id), forks], [["first", "second", "third"], []]);
});

test("a store that was put back to before the known head is forked as it is", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  outbox.registerOpened({ ...(await loadSession(id)), head: "an event that is gone", eventCount: 2 });
  const { sessionId } = await outbox.append(id, [userMessage("third")]);
  assert.deepEqual([await loadMessages(sessionId), await loadMessages(id)], [["first", "third"], ["first"]]);
});

test("after a fork the original can be opened again, and takes what is appended to it", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await appendElsewhere(id, "from elsewhere");
  const { sessionId: fork } = await outbox.append(id, [userMessage("second")]);
  outbox.registerOpened((await server.request("session/open", { sessionId: id })).session);
  await outbox.append(id, [userMessage("third")]);
  await outbox.append(fork, [userMessage("fourth")]);
  assert.deepEqual(await loadMessages(id), ["first", "from elsewhere", "third"]);
  assert.deepEqual(await loadMessages(fork), ["first", "second", "fourth"]);
});

test("who answers is kept with the session, and a wrong name is refused with its call", async () => {
  const id = await openNew();
  const options: { agent: string; model: unknown } = { agent: "an agent", model: "a model" };
  const appending = outbox.append(id, [userMessage("first")], options as AppendOptions);
  options.agent = "changed";
  await appending;
  const { agent, model } = await loadSession(id);
  assert.deepEqual([agent, model], ["an agent", "a model"]);
  for (const wrong of [() => 1, "two\nlines", "x".repeat(70_000_000)]) {
    const refused = outbox.append(id, [userMessage("second")], { model: wrong } as AppendOptions);
    await assert.rejects(refused, (error) => isKind(error, "InvalidParams"));
  }
  await outbox.append(id, [userMessage("third")]);
  assert.deepEqual(await loadMessages(id), ["first", "third"]);
  assert.equal((await loadSession(id)).model, "a model");
});

test("reopening after a restart does not adopt a head that this window has not seen", async () => {
  const id = await openNew();
  await outbox.append(id, [userMessage("first")]);
  await server.killAndRestart();
  outbox.handleServerRestart();
  await server.request("session/open", { sessionId: id });
  await server.request("session/append", { sessionId: id, events: [userMessage("from elsewhere")] });
  const { sessionId } = await outbox.append(id, [userMessage("second")]);
  assert.deepEqual([forks, await loadMessages(sessionId)], [[[id, sessionId]], ["first", "second"]]);
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
