// Exports conversations of a real server into real files.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { readPages, writePrivately } from "../../../../editors/vscode/src/exportFile.ts";
import type { Request } from "../../../../editors/vscode/src/requests.ts";
import { TestServer } from "./testServer.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "segue-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

async function* yieldAll(...texts: string[]): AsyncGenerator<string> {
  yield* texts;
}

async function* failAfter(text: string): AsyncGenerator<string> {
  yield text;
  throw new Error("cancelled");
}

test("a conversation of several pages is one file with every message, even if the server is killed meanwhile", async () => {
  const server = await TestServer.start(folder);
  const path = join(folder, "export.jsonl");
  const messages = Array.from({ length: 9 }, (_, index) => `${index}: ${"Grüße 👋🏽 ".repeat(60_000)}`);
  try {
    const request: Request = (method, params) => server.request(method, params);
    const { session: { sessionId } } = await request("session/open", { workspace: folder, mode: "new" });
    for (const content of messages) {
      await request("session/append", { sessionId, events: [{ type: "user_message", data: { content } }] });
    }
    let count = 0;
    async function* contents(): AsyncGenerator<string> {
      for await (const { content } of readPages(request, sessionId, "jsonl")) {
        count += 1;
        if (count === 1) {
          await server.killAndRestart();
        }
        yield content;
      }
    }
    await writePrivately(path, contents());
    assert.ok(count > 1, `${count} pages`);
  } finally {
    await server.end();
  }
  const lines = readFileSync(path, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.flatMap(({ data }) => data?.content ?? []), messages);
});

test("a file is private, and replaces the one that a link leads to", async () => {
  process.umask(0o022);
  mkdirSync(join(folder, "notes"));
  const target = join(folder, "notes", "old.md");
  writeFileSync(target, "old", { mode: 0o644 });
  const link = join(folder, "link.md");
  symlinkSync(target, link);
  await writePrivately(link, yieldAll("one ", "two"));
  assert.equal(readFileSync(target, "utf8"), "one two");
  assert.equal(statSync(target).mode & 0o777, 0o600);
  assert.deepEqual([readdirSync(folder).sort(), readdirSync(join(folder, "notes"))], [["link.md", "notes"], ["old.md"]]);
});

test("an export that is cancelled or fails leaves the old file and nothing else", async () => {
  const path = join(folder, "old.md");
  writeFileSync(path, "old");
  await assert.rejects(writePrivately(path, failAfter("half of it")), /cancelled/);
  assert.equal(readFileSync(path, "utf8"), "old");
  await assert.rejects(writePrivately(join(folder, "gone", "new.md"), yieldAll("text")), { code: "ENOENT" });
  assert.deepEqual(readdirSync(folder), ["old.md"]);
});
