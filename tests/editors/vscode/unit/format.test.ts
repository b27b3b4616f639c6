import assert from "node:assert/strict";
import { test } from "node:test";
import {
  escapeLabel,
  escapeMarkdown,
  formatAge,
  formatCount,
  formatTitle,
  singleLine,
} from "../../../../editors/vscode/src/format.ts";

const NOW = Date.parse("2026-08-01T12:00:00.000Z");
const ageOf = (seconds: number) => formatAge(new Date(NOW - seconds * 1_000).toISOString(), NOW);

test("an age is in its largest whole unit, and is never negative", () => {
  const ages = [-60, 0, 59, 60, 3_599, 3_600, 86_399, 86_400, 800_000].map(ageOf);
  assert.deepEqual(ages, [
    "just now", "just now", "just now", "1 min ago", "59 min ago", "1 h ago", "23 h ago", "1 d ago", "9 d ago",
  ]);
});

test("a noun is in the plural unless its number is 1", () => {
  assert.deepEqual([0, 1, 2, 1_234].map((n) => formatCount(n, "event")), ["0 events", "1 event", "2 events", "1,234 events"]);
});

test("a title is cut between code points", () => {
  assert.equal(formatTitle({ title: "👋🏽".repeat(10) }, 5).endsWith("…"), true);
  assert.equal(formatTitle({ title: "a b c" }, 4), "a b…");
  assert.equal(formatTitle({ title: null }), "(no message yet)");
});

test("control characters, line breaks and bidirectional overrides are removed from stored strings", () => {
  assert.equal(singleLine("a\u202egpj.exe\nb\u0007\u001b[31mc\u2028d"), "a gpj.exe b [31mc d");
});

test("icon syntax in stored strings is escaped", () => {
  assert.equal(escapeLabel("$(trash) and $(sync~spin) cost $(5"), "\\$(trash) and \\$(sync~spin) cost $(5");
});

test("Markdown syntax in stored strings is escaped", () => {
  assert.equal(escapeMarkdown("[x](command:y) *b* <a>"), "\\[x\\]\\(command:y\\) \\*b\\* \\<a\\>");
});
