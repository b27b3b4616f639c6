import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event } from "../../../../editors/vscode/src/protocol.ts";
import { localTime } from "../../../../editors/vscode/src/words.ts";
import { transcript } from "../../../../editors/vscode/src/transcript.ts";

function event(type: string, data: unknown, more: Partial<Event> = {}): Event {
  return { id: "e", seq: 1, parentId: null, invocationId: "i", createdAt: "2026-08-01T12:34:56.000Z", type, data, ...more };
}

const shown = (type: string, data: unknown, more?: Partial<Event>) =>
  transcript({ title: "T" }, [event(type, data, more)], 0);

test("each kind of event has its heading and its body", () => {
  assert.equal(shown("user_message", { content: "Hello" }), `# T\n\n## You · ${localTime("2026-08-01T12:34:56.000Z")}\n\nHello\n`);
  assert.match(shown("text", { content: "Hi" }), /^## Assistant · .*\n\nHi\n$/m);
  assert.match(shown("tool_call", { id: "1", name: "grep", input: { a: 1 } }), /## Tool call: `grep` .*\n\n```json\n\{\n {2}"a": 1\n\}\n```/);
  assert.match(shown("tool_result", { tool_use_id: "1", content: "x", is_error: true }), /## Tool result: error /);
  assert.match(shown("system_context", { content: "a\nb" }), /\n> a\n> b\n/);
  assert.match(shown("of_the_future", { any: 1 }), /## `of_the_future` .*\n\n```json/);
  assert.match(shown("text", "broken {", { corrupt: true }), /broken \{/);
});

test("what was said cannot close the fence that it stands in", () => {
  assert.match(shown("tool_result", { content: "```\n# free" }), /\n````\n```\n# free\n````\n/);
});

test("older events that are left out are counted", () => {
  assert.match(transcript({ title: "T" }, [], 3), /\*3 older events left out\.\*/);
});

for (const link of [
  "[x](command:workbench.action.quit)",
  "[x]( <COMMAND:a.b> )",
  "<command:a.b>",
  "[x]: command:a.b",
  "[x](&#99;ommand:a.b)",
  "[x](comm&#x61;nd&colon;a.b)",
  "[x](%63ommand:a.b)",
]) {
  test(`no command hides in ${link}`, () => {
    const text = shown("user_message", { content: link });
    const target = /(?:\]\(\s*<?|\]:\s*<?|<)(.*)$/m.exec(text.slice(text.indexOf("## You")))?.[1] ?? "";
    assert.ok(!/^command\s*:/i.test(target), target);
    assert.ok(target.startsWith("\u200b") || /command\u200b:/i.test(target), target);
  });
}

test("ordinary links stay as they are", () => {
  const text = "[x](https://example.org/a?b=c) and the command line";
  assert.ok(shown("text", { content: text }).includes(text));
});
