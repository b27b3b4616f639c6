import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event } from "../../../../editors/vscode/src/protocol.ts";
import { answerOf, type Message, messagesOf } from "../../../../editors/vscode/src/turns.ts";

function conversation(...said: [type: string, data: unknown][]): Event[] {
  return said.map(([type, data], place) => ({
    id: `e${place}`, seq: place + 1, parentId: null, invocationId: "i", createdAt: "", type, data,
  }));
}

/** Turns of 100 characters each: 40 asked, 60 answered. */
function turns(number: number): Event[] {
  return conversation(
    ...Array.from({ length: number }, (_, place): [string, unknown][] => [
      ["user_message", { content: `q${place} `.padEnd(40, "?") }],
      ["text", { content: `a${place} `.padEnd(60, "!") }],
    ]).flat(),
  );
}

const asked = (messages: Message[]) => messages.flatMap(({ text }) => [...text.matchAll(/q\d+/g)].map(String));
const gaps = (messages: Message[]) => messages.filter(({ text }) => text.includes("left out here")).length;

test("a conversation that fits is given whole, the roles taking turns", () => {
  const messages = messagesOf(turns(5), 1_000);
  assert.deepEqual(asked(messages), ["q0", "q1", "q2", "q3", "q4"]);
  assert.deepEqual(messages.map(({ role }) => role), Array(5).fill(["user", "assistant"]).flat());
  assert.equal(gaps(messages), 0);
});

test("the first and the last turn are whole, whatever the budget", () => {
  for (const budget of [-100, 0, 1, 150]) {
    const messages = messagesOf(turns(5), budget);
    assert.deepEqual(asked(messages), ["q0", "q4"]);
    assert.equal(messages.at(-1)?.text.length, 60);
    assert.equal(gaps(messages), 1);
  }
});

test("between them stand the newest turns that fit, none cut", () => {
  const messages = messagesOf(turns(10), 499);
  assert.deepEqual(asked(messages), ["q0", "q7", "q8", "q9"]);
  assert.equal(gaps(messages), 1);
});

test("a gap in what was read is noted too", () => {
  const messages = messagesOf([...turns(9).slice(0, 2), ...turns(9).slice(10)], 10_000);
  assert.deepEqual(asked(messages), ["q0", "q5", "q6", "q7", "q8"]);
  assert.equal(gaps(messages), 1);
});

test("an event that no model is shown leaves no gap", () => {
  const events = conversation(
    ["user_message", { content: "q1" }],
    ["text", { content: "a" }],
    ["out_of_band_output", { name: "x", content: "hidden" }],
    ["of_the_future", {}],
    ["user_message", { content: "q2" }],
  );
  const messages = messagesOf(events, 100);
  assert.deepEqual(messages.map(({ text }) => text), ["q1", "a", "q2"]);
});

test("tools, skills and notes come as words; the roles still take turns", () => {
  const events = conversation(
    ["user_message", { content: "find it" }],
    ["tool_call", { id: "1", name: "grep", input: { for: "it" } }],
    ["tool_result", { tool_use_id: "1", content: "line 7", is_error: false }],
    ["text", { content: "It is in line 7." }],
    ["system_context", { content: "A new invocation began." }],
    ["user_message", { content: "thanks" }],
  );
  assert.deepEqual(messagesOf(events, 1_000), [
    { role: "user", text: "find it" },
    { role: "assistant", text: '[Called grep with {"for":"it"}]' },
    { role: "user", text: "[It answered: line 7]" },
    { role: "assistant", text: "It is in line 7." },
    { role: "user", text: "[A new invocation began.]\n\nthanks" },
  ]);
});

test("what is not even JSON is left out, and so is what has no shape", () => {
  const [broken] = conversation(["text", "{"]);
  assert.deepEqual(messagesOf([{ ...(broken as Event), corrupt: true }], 100), []);
  assert.deepEqual(messagesOf([], 100), []);
});

test("an answer says which model gave it", () => {
  assert.deepEqual(answerOf("Yes.", { id: "m-1", vendor: "acme" }), {
    type: "text",
    data: { content: "Yes.", model: "acme/m-1" },
  });
});
