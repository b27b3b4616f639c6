import assert from "node:assert/strict";
import { test } from "node:test";
import { formatLocalTime } from "../../../../editors/vscode/src/format.ts";
import type { Event } from "../../../../editors/vscode/src/protocol.ts";
import { renderTranscript } from "../../../../editors/vscode/src/transcript.ts";

function createEvent(type: string, data: unknown, more: Partial<Event> = {}): Event {
  return { id: "e", seq: 1, parentId: null, invocationId: "i", createdAt: "2026-08-01T12:34:56.000Z", type, data, ...more };
}

const render = (type: string, data: unknown, more?: Partial<Event>) =>
  renderTranscript({ title: "T" }, [createEvent(type, data, more)], 0);

test("each event type is rendered with a heading and a body", () => {
  assert.equal(render("user_message", { content: "Hello" }), `# T\n\n## You · ${formatLocalTime("2026-08-01T12:34:56.000Z")}\n\nHello\n`);
  assert.match(render("text", { content: "Hi" }), /^## Assistant · .*\n\nHi\n$/m);
  assert.match(render("tool_call", { id: "1", name: "grep", input: { a: 1 } }), /## Tool call: `grep` .*\n\n```json\n\{\n {2}"a": 1\n\}\n```/);
  assert.match(render("tool_result", { tool_use_id: "1", content: "x", is_error: true }), /## Tool result: error /);
  assert.match(render("system_context", { content: "a\nb" }), /\n> a\n> b\n/);
  assert.match(render("of_the_future", { any: 1 }), /## `of_the_future` .*\n\n```json/);
  assert.match(render("text", "broken {", { corrupt: true }), /broken \{/);
});

test("a fence in the content cannot close the code block around it", () => {
  assert.match(render("tool_result", { content: "```\n# free" }), /\n````\n```\n# free\n````\n/);
});

test("the number of omitted older events is stated", () => {
  assert.match(renderTranscript({ title: "T" }, [], 3), /\*3 older events left out\.\*/);
});

test("other links are unchanged", () => {
  const markdown = "[x](https://example.org/a?b=c) and the command line";
  assert.ok(render("text", { content: markdown }).includes(markdown));
});
