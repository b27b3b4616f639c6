// Against the real server, over the real protocol: killed, restarted, overtaken by another window.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { Outbox } from "../../../../editors/vscode/src/outbox.ts";
import { isKind } from "../../../../editors/vscode/src/protocol.ts";
import { Connection } from "./connection.ts";

let folder: string;
let connection: Connection;
let outbox: Outbox;
const replaced: [string, string][] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "segue-"));
  connection = await Connection.start(folder);
  outbox = new Outbox({
    request: (method, params) => connection.request(method, params),
    whenBack: (run) => connection.whenBack(run),
    onAppended: () => {},
    onReplaced: (before, { session }) => replaced.push([before, session.sessionId]),
  });
});

afterEach(async () => {
  await connection.end();
  rmSync(folder, { recursive: true });
  replaced.length = 0;
});

const said = (content: string) => ({ type: "user_message", data: { content } });

async function begin(): Promise<string> {
  const { session } = await connection.request("session/open", { workspace: folder, mode: "new" });
  outbox.opened(session);
  return session.sessionId;
}

/** What was said, in its order; the notes of where a new invocation begins are left out. */
async function stored(sessionId: string): Promise<unknown[]> {
  const { events } = await connection.request("session/events", { sessionId, limit: 1_000 });
  assert.deepEqual(events.map(({ seq }) => seq), events.map((_, place) => place + 1));
  const messages = events.filter(({ type }) => type === "user_message");
  return messages.map(({ data }) => (data as { content: unknown }).content);
}

test("what is appended at once is stored in the order of the calls", async () => {
  const id = await begin();
  const words = Array.from({ length: 50 }, (_, place) => `word ${place}`);
  await Promise.all(words.map((word) => outbox.append(id, [said(word)])));
  assert.deepEqual(await stored(id), words);
});

test("what was not acknowledged when the server died is sent again, once", async () => {
  const id = await begin();
  await outbox.append(id, [said("first")]);
  const words = Array.from({ length: 50 }, (_, place) => `word ${place}`);
  const all = Promise.all(words.map((word) => outbox.append(id, [said(word)])));
  await connection.killAndRestart();
  outbox.serverChanged();
  await all;
  assert.deepEqual(await stored(id), ["first", ...words]);
});

test("what was stored, and only its answer lost, is not stored again", async () => {
  const id = await begin();
  connection.loseNextAnswer = true;
  const appended = await outbox.append(id, [said("once")]);
  assert.equal(appended.duplicates, 1);
  assert.deepEqual(await stored(id), ["once"]);
});

test("a session that nothing was stored of begins anew when the server died", async () => {
  const id = await begin();
  await connection.killAndRestart();
  outbox.serverChanged();
  const { sessionId } = await outbox.append(id, [said("first")]);
  assert.deepEqual(replaced, [[id, sessionId]]);
  await outbox.append(id, [said("second")]);
  assert.deepEqual(await stored(sessionId), ["first", "second"]);
});

test("what waits for an answer can be waited for", async () => {
  const id = await begin();
  const words = Array.from({ length: 20 }, (_, place) => `word ${place}`);
  for (const word of words) {
    void outbox.append(id, [said(word)]);
  }
  await outbox.settled();
  assert.deepEqual(await stored(id), words);
});

test("a session that was deleted elsewhere does not come back", async () => {
  const id = await begin();
  await outbox.append(id, [said("first")]);
  await connection.request("session/delete", { sessionId: id });
  await connection.killAndRestart();
  outbox.serverChanged();
  await assert.rejects(outbox.append(id, [said("second")]), (error) => isKind(error, "SessionNotFound"));
});

test("what another window wrote in between is no place to append behind unseen", async () => {
  const id = await begin();
  await outbox.append(id, [said("first")]);
  const other = await Connection.start(folder);
  await other.request("session/open", { sessionId: id });
  await other.request("session/append", { sessionId: id, events: [said("from elsewhere")] });
  await other.end();
  await assert.rejects(outbox.append(id, [said("second")]), (error) => isKind(error, "HeadMoved"));
  outbox.opened((await connection.request("session/open", { sessionId: id })).session);
  await outbox.append(id, [said("second")]);
  assert.deepEqual(await stored(id), ["first", "from elsewhere", "second"]);
});

test("the same across a restart: reopening does not take over a head that was never seen", async () => {
  const id = await begin();
  await outbox.append(id, [said("first")]);
  await connection.killAndRestart();
  outbox.serverChanged();
  await connection.request("session/open", { sessionId: id });
  await connection.request("session/append", { sessionId: id, events: [said("from elsewhere")] });
  await assert.rejects(outbox.append(id, [said("second")]), (error) => isKind(error, "HeadMoved"));
});

test("a refused event does not hold up those behind it", async () => {
  const id = await begin();
  const refused = outbox.append(id, [{ type: "user_message", data: {} }]);
  const behind = outbox.append(id, [said("behind")]);
  await assert.rejects(refused, /content/);
  await behind;
  assert.deepEqual(await stored(id), ["behind"]);
});

test("a session that this window has not opened is opened by its id", async () => {
  const id = await begin();
  await outbox.append(id, [said("first")]);
  await connection.request("session/close", { sessionId: id });
  await outbox.append(id, [said("second")]);
  assert.deepEqual(await stored(id), ["first", "second"]);
});
