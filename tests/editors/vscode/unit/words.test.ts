import assert from "node:assert/strict";
import { test } from "node:test";
import { age, count, plain, plainLabel, plainMarkdown, title } from "../../../../editors/vscode/src/words.ts";

const NOW = Date.parse("2026-08-01T12:00:00.000Z");
const ago = (seconds: number) => age(new Date(NOW - seconds * 1_000).toISOString(), NOW);

test("an age has one unit, and is never negative", () => {
  const ages = [-60, 0, 59, 60, 3_599, 3_600, 86_399, 86_400, 800_000].map(ago);
  assert.deepEqual(ages, [
    "just now", "just now", "just now", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "1 d ago", "9 d ago",
  ]);
});

test("a count agrees with its noun", () => {
  assert.deepEqual([0, 1, 2, 1_234].map((n) => count(n, "event")), ["0 events", "1 event", "2 events", "1,234 events"]);
});

test("a title is cut by characters, not in the middle of one", () => {
  assert.equal(title({ title: "👋🏽".repeat(10) }, 5).endsWith("…"), true);
  assert.equal(title({ title: "a b c" }, 4), "a b…");
  assert.equal(title({ title: null }), "(no message yet)");
});

test("stored text cannot turn the line round, break it, or hide in it", () => {
  assert.equal(plain("a\u202egpj.exe\nb\u0007\u001b[31mc\u2028d"), "a gpj.exe b [31mc d");
});

test("stored text is no icon where icons are drawn", () => {
  assert.equal(plainLabel("$(trash) and $(sync~spin) cost $(5"), "\\$(trash) and \\$(sync~spin) cost $(5");
});

test("stored text is no Markdown where Markdown is drawn", () => {
  assert.equal(plainMarkdown("[x](command:y) *b* <a>"), "\\[x\\]\\(command:y\\) \\*b\\* \\<a\\>");
});
