import assert from "node:assert/strict";
import { test } from "node:test";
import { formatLocalTime } from "../../../../editors/vscode/src/format.ts";
import type { Event } from "../../../../editors/vscode/src/protocol.ts";
import { renderTranscript } from "../../../../editors/vscode/src/transcript.ts";
import { findTurns } from "../../../../editors/vscode/src/turns.ts";

function createEvent(type: string, data: unknown, more: Partial<Event> = {}): Event {
  return { id: "e", seq: 1, parentId: null, invocationId: "i", createdAt: "2026-08-01T12:34:56.000Z", type, data, ...more };
}

const render = (type: string, data: unknown, more?: Partial<Event>) =>
  renderTranscript({ title: "T" }, [createEvent(type, data, more)], 0).text;

test("each event type is rendered with a heading and a body", () => {
  assert.equal(render("user_message", { content: "Hello" }), `# T\n\n## You · ${formatLocalTime("2026-08-01T12:34:56.000Z")}\n\nHello\n`);
  assert.match(render("text", { content: "Hi" }), /^## Assistant · .*\n\nHi\n$/m);
  assert.match(render("tool_call", { id: "1", name: "grep", input: { a: 1 } }), /## Tool call: `grep` .*\n\n```json\n\{\n {2}"a": 1\n\}\n```/);
  assert.match(render("tool_result", { tool_use_id: "1", content: "x", is_error: true }), /## Tool result: error /);
  assert.match(render("system_context", { content: "a\nb" }), /\n> a\n> b\n/);
  assert.match(render("thinking", { content: "a\nb" }), /## Thinking .*\n\n> a\n> b\n/);
  assert.match(render("plan", { entries: [{ content: "one", status: "completed" }, "two\n*x*"] }), /## Plan .*\n\n- \[x\] one\n- \[ \] two \\\*x\\\*\n/);
  assert.match(render("permission", { tool_use_id: "1", options: [], outcome: "selected", option: "always" }), /## Permission: `always` /);
  assert.match(render("turn_end", { stop_reason: "error", error: "a\nb" }), /## End of turn: `error` .*\n\n> a\n> b\n/);
  assert.match(render("of_the_future", { any: 1 }), /## `of_the_future` .*\n\n```json/);
  assert.match(render("text", "broken {", { corrupt: true }), /broken \{/);
});

test("a fence in the content cannot close the code block around it", () => {
  assert.match(render("tool_result", { content: "```\n# free" }), /\n````\n```\n# free\n````\n/);
});

test("the number of omitted events is stated", () => {
  assert.match(renderTranscript({ title: "T" }, [], 3).text, /\*3 older events left out\.\*/);
  const events = [createEvent("text", { content: "one" })];
  const { text, ends } = renderTranscript({ title: "T" }, events, 3, 1);
  assert.match(text, /\*3 older events left out\.\*\n\n## Assistant .*\n\none\n\n\*1 newer event left out\.\*\n$/);
  assert.equal(text.split("\n")[ends[0] ?? -1], "");
});

test("other links are unchanged", () => {
  const markdown = "[x](https://example.org/a?b=c) and the command line";
  assert.ok(render("text", { content: markdown }).includes(markdown));
});

test("the line at which each event ends is known, whatever its text looks like", () => {
  const contents = ["one", "two\n\n## You · 2026-08-01 14:34\n\n```", "three\r\nand\rmore", ""];
  const events = contents.map((content, index) => createEvent("text", { content }, { seq: index + 1 }));
  const { text, starts, ends } = renderTranscript({ title: "a title" }, events, 2);
  const lines = text.split("\n");
  assert.equal(ends.at(-1), lines.length - 1);
  assert.deepEqual(starts, [4, ...ends.slice(0, -1).map((end) => end + 1)]);
  assert.ok(starts.every((start) => lines[start]?.startsWith("## Assistant · ")));
  for (const end of ends.slice(0, -1)) {
    assert.deepEqual([lines[end], lines[end + 1]?.startsWith("## Assistant · ")], ["", true]);
  }
});

test("the pieces of a message are shown as one, and all end where it ends", () => {
  const piece = (type: string, content: string, message?: string) => createEvent(type, { content, message });
  const events = [
    piece("thinking", "Let ", "1"), piece("thinking", "me", "1"),
    piece("text", "I **lo", "2"), piece("text", "ok**.\n\n", "2"), piece("text", "Now", "2"),
    piece("text", "other", "3"), piece("text", "none"), piece("text", "none"), piece("user_message", "x", "4"),
    piece("user_message", "y", "4"), createEvent("text", "damaged"), createEvent("text", { content: 1, message: "5" }),
    createEvent("text", { content: 1, message: "5" }),
  ];
  const { text, ends } = renderTranscript({ title: "T" }, events, 0);
  assert.equal(text.match(/^## /gm)?.length, 10);
  assert.match(text, /^> Let me$/m);
  assert.match(text, /\n\nI \*\*look\*\*\.\n\nNow\n\n## /);
  assert.equal(ends.length, events.length);
  assert.deepEqual([ends[0] === ends[1], ends[1] === ends[2], ends[2] === ends[4]], [true, false, true]);
});

test("a turn is a question with all that follows it, but for the note that another invocation begins", () => {
  const events = [
    createEvent("text", { content: "before" }),
    createEvent("user_message", { content: "one" }, { id: "1" }),
    createEvent("tool_call", { id: "1", name: "n", input: {} }, { id: "2" }),
    createEvent("text", { content: "answer" }, { id: "3" }),
    createEvent("system_context", { content: "[another invocation]" }, { id: "4" }),
    createEvent("user_message", { content: "two" }, { id: "5" }),
    createEvent("user_message", "damaged", { id: "6" }),
  ];
  const turns = findTurns(events).map(({ question, last }) => [question, last.id]);
  assert.deepEqual(turns, [["one", "3"], ["two", "5"], ["", "6"]]);
});
