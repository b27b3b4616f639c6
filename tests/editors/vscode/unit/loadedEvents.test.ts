// Pages of a real conversation of a real server.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { LoadedEvents, PAGE_SIZE } from "../../../../editors/vscode/src/loadedEvents.ts";
import type { Page } from "../../../../editors/vscode/segue.d.ts";
import { TestServer } from "./testServer.ts";

let folder: string;
let server: TestServer;
let sessionId: string;
let pages: Page[];
let loaded: LoadedEvents;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "segue-loaded-"));
  server = await TestServer.start(folder);
  sessionId = (await server.request("session/open", { workspace: folder, mode: "new" })).session.sessionId;
  pages = [];
  loaded = new LoadedEvents((page) => {
    pages.push(page);
    return server.request("session/events", { sessionId, ...page });
  });
});

afterEach(async () => {
  await server.end();
  rmSync(folder, { recursive: true });
});

const createEvents = (number: number) => Array.from({ length: number }, (_, index) => ({ type: "text", data: { content: `${index}` } }));

async function append(number: number) {
  const { eventCount } = await server.request("session/append", { sessionId, events: createEvents(number) });
  return server.request("session/events", { sessionId, after: eventCount - number, limit: 1_000 });
}

const range = () => [loaded.events[0]?.seq, loaded.lastSeq, loaded.hasOlder, loaded.hasNewer];
const isGapless = () => loaded.events.every(({ seq }, index) => seq === (loaded.events[0]?.seq ?? 0) + index);

test("the newest page is loaded first, and earlier ones on demand, until there are none", async () => {
  await append(250);
  await loaded.loadNewest();
  assert.deepEqual(range(), [151, 250, true, false]);
  assert.equal(loaded.invocations.size, 1);
  await loaded.loadOlder();
  await Promise.all([loaded.loadOlder(), loaded.loadOlder()]);
  assert.deepEqual(range(), [1, 250, false, false]);
  await loaded.loadOlder();
  assert.ok(isGapless());
  assert.ok(pages.length <= 4 && pages.every(({ limit }) => limit === PAGE_SIZE));
});

test("events around one that is not loaded take the place of those that are, and go on in both directions", async () => {
  await append(500);
  await loaded.loadNewest();
  await loaded.loadAround(450);
  assert.deepEqual(range(), [401, 500, true, false]);
  await loaded.loadAround(200);
  assert.deepEqual(range(), [151, 250, true, true]);
  await loaded.add((await append(1)).events, []);
  assert.equal(loaded.lastSeq, 250);
  for (let page = 0; page < 3; page += 1) {
    await loaded.loadNewer();
  }
  assert.deepEqual(range(), [151, 501, true, false]);
  await loaded.loadAround(3);
  assert.deepEqual(range(), [1, 100, false, true]);
  assert.ok(isGapless());
});

test("appended events are added once, with those between", async () => {
  await append(10);
  await loaded.loadNewest();
  await append(5);
  const { events, invocations } = await append(2);
  await loaded.add(events, invocations);
  await loaded.add(events, invocations);
  assert.deepEqual(range(), [1, 17, false, false]);
  assert.ok(isGapless());
});

test("a conversation that grows without end does not fill the memory", async () => {
  await append(1);
  await loaded.loadNewest();
  for (let round = 0; round < 5; round += 1) {
    await loaded.add((await append(500)).events, []);
  }
  assert.ok(loaded.events.length <= 2_000 && loaded.hasOlder && loaded.lastSeq === 2_501);
  await loaded.loadOlder();
  assert.ok(isGapless());
});
