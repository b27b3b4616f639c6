import assert from "node:assert/strict";
import { test } from "node:test";
import {
  escapeLabel,
  escapeMarkdown,
  escapeMessage,
  formatAge,
  formatCount,
  formatSpan,
  formatTitle,
  nameProgram,
  nameSpeakers,
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

test("a span of time has a date or a time that is the same only once", () => {
  const at = (day: number, hour: number, minute = 0) => new Date(2026, 7, day, hour, minute).toISOString();
  assert.equal(formatSpan(at(1, 9), at(1, 9)), "2026-08-01 09:00");
  assert.equal(formatSpan(at(1, 9), at(1, 9, 5)), "2026-08-01 09:00 to 09:05");
  assert.equal(formatSpan(at(1, 9), at(2, 9)), "2026-08-01 09:00 to 2026-08-02 09:00");
});

test("a noun is in the plural unless its number is 1", () => {
  assert.deepEqual([0, 1, 2, 1_234].map((n) => formatCount(n, "event")), ["0 events", "1 event", "2 events", "1,234 events"]);
});

test("a title is cut between code points", () => {
  assert.equal(formatTitle({ title: "👋🏽".repeat(10) }, 5).endsWith("…"), true);
  assert.equal(formatTitle({ title: "a b c" }, 4), "a b…");
  assert.equal(formatTitle({ title: null }), "(no message yet)");
});

test("a program has the name that people know, even if only a later server knows it", () => {
  assert.deepEqual(["claude-code", "opencode", "new-agent"].map(nameProgram), ["Claude Code", "OpenCode", "New Agent"]);
  assert.equal(nameProgram("constructor"), "Constructor");
  assert.equal(nameProgram(`\u202ea\nb${"c".repeat(99)}`).length, 40);
});

test("the program of an import and the model are named, each once", () => {
  const name = (source: string | null, model: string | null, agent: string | null) => nameSpeakers({ source, model, agent });
  assert.deepEqual(name("claude-code", "claude-sonnet-4-5", null), ["Claude Code", "claude-sonnet-4-5"]);
  assert.deepEqual(name("claude-code", null, "Claude Code"), ["Claude Code"]);
  assert.deepEqual(name(null, null, "@segue"), ["@segue"]);
  assert.deepEqual(name(null, null, null), []);
  const shared = { source: null, model: "gpt-5", agent: null, sharedBy: "an\nna" };
  assert.deepEqual(nameSpeakers(shared), ["gpt-5", "shared by an na"]);
});

test("control characters and line breaks become spaces, and bidirectional controls are removed", () => {
  assert.equal(singleLine("a\u202egpj.exe\nb\u0007\u001b[31mc\u2028d"), "agpj.exe b [31mc d");
  const controls = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069";
  assert.equal(singleLine(`a${controls}b`), "ab");
});

test("zero-width joiners are kept: emoji and several scripts need them", () => {
  assert.equal(singleLine("👩\u200d💻 می\u200cخواهم"), "👩\u200d💻 می\u200cخواهم");
});

test("a title that is written from right to left is isolated from the text around it", () => {
  assert.equal(formatTitle({ title: "שלום" }), "\u2068שלום\u2069");
  assert.equal(formatTitle({ title: "\u202eمرحبا\u2069 a" }), "\u2068مرحبا a\u2069");
  assert.equal(escapeMarkdown(formatTitle({ title: "א*" })), "\u2068א\\*\u2069");
  assert.equal(escapeLabel(formatTitle({ title: "א" })), "\u2068א\u2069");
  assert.equal(formatTitle({ title: "a" }), "a");
});

test("a message of a notification has no links", () => {
  assert.equal(escapeMessage("[x](command:a.b)"), "[x]\u200b(command:a.b)");
});

test("icon syntax in stored strings is escaped", () => {
  assert.equal(escapeLabel("$(trash) and $(sync~spin) cost $(5"), "$\u200b(trash) and $\u200b(sync~spin) cost $(5");
});

test("Markdown syntax in stored strings is escaped", () => {
  assert.equal(escapeMarkdown("[x](command:y) *b* <a>"), "\\[x\\]\\(command:y\\) \\*b\\* \\<a\\>");
});
