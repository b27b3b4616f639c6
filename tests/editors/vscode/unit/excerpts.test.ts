import assert from "node:assert/strict";
import { test } from "node:test";
import { buildPatterns, highlightExcerpt, markExcerpt } from "../../../../editors/vscode/src/excerpts.ts";

const EXCERPT = [
  { text: "…drops the ", match: false },
  { text: "last", match: true },
  { text: " ", match: false },
  { text: "Token", match: true },
  { text: " of a line…", match: false },
];

/** Where the page of a transcript finds the match in its text. */
function findMatch(text: string, excerpt: { text: string; match: boolean }[]): [number, number] | undefined {
  const found = buildPatterns(excerpt).map((pattern) => new RegExp(pattern, "d").exec(text)).find((each) => each !== null);
  return (found as { indices?: [number, number][] } | undefined)?.indices?.[1];
}

test("the matches of an excerpt are visible, with the spaces around them", () => {
  assert.equal(markExcerpt(EXCERPT), "…drops the «last» «Token» of a line…");
  const { label, highlights } = highlightExcerpt(EXCERPT);
  assert.deepEqual(highlights.map(([start, end]) => label.slice(start, end)), ["last", "Token"]);
  assert.equal(label, "…drops the last Token of a line…");
});

test("a highlighted excerpt begins shortly before the first match", () => {
  const { label, highlights } = highlightExcerpt([{ text: `${"before ".repeat(8)}`, match: false }, { text: "it", match: true }, { text: " after", match: false }]);
  assert.deepEqual([label, highlights], ["…before before it after", [[15, 17]]]);
  const long = highlightExcerpt([{ text: "x".repeat(30), match: false }, { text: "it", match: true }]);
  assert.deepEqual(long, { label: `…${"x".repeat(19)}it`, highlights: [[20, 22]] });
});

test("an excerpt is one line without bidirectional controls", () => {
  assert.equal(markExcerpt([{ text: "a\u202e\u0007b ", match: false }, { text: "c", match: true }]), "a b «c»");
});

test("a match is found in its context, whatever white space is there", () => {
  const text = "The last Token of a page.\n\nIt drops the\n  last Token of a line, always.";
  const [start, end] = findMatch(text, EXCERPT) ?? [];
  assert.equal(start, text.indexOf("last Token of a line"));
  assert.equal(text.slice(start, end), "last");
});

test("a match is found by itself where its context is displayed in another way", () => {
  const [start] = findMatch('{\n  "a": "x\\nthe (last) last"\n}', [{ text: "x the (", match: false }, { text: "last", match: true }]) ?? [];
  assert.equal(start, 18);
  assert.equal(findMatch("nothing", EXCERPT), undefined);
  assert.equal(findMatch("the beginning", [{ text: "the beginning", match: false }]), undefined);
});
