import assert from "node:assert/strict";
import { test } from "node:test";
import { buildMessages, type ModelMessage } from "../../../../editors/vscode/src/modelMessages.ts";
import { type Event, EVENT_TYPES } from "../../../../editors/vscode/src/protocol.ts";

function createEvents(...events: [type: string, data: unknown][]): Event[] {
  return events.map(([type, data], index) => ({
    id: `e${index}`, seq: index + 1, parentId: null, invocationId: "i", createdAt: "", type, data,
  }));
}

/** Turns of 100 characters each: a question of 40 and an answer of 60. */
function createTurns(number: number): Event[] {
  return createEvents(
    ...Array.from({ length: number }, (_, index): [string, unknown][] => [
      ["user_message", { content: `q${index} `.padEnd(40, "?") }],
      ["text", { content: `a${index} `.padEnd(60, "!") }],
    ]).flat(),
  );
}

const questions = (messages: ModelMessage[]) => messages.flatMap(({ content }) => [...content.matchAll(/q\d+/g)].map(String));
const countGaps = (messages: ModelMessage[]) => messages.filter(({ content }) => content.includes("left out here")).length;

test("a conversation within the budget is complete, with alternating roles", () => {
  const messages = buildMessages(createTurns(5), 1_000);
  assert.deepEqual(questions(messages), ["q0", "q1", "q2", "q3", "q4"]);
  assert.deepEqual(messages.map(({ role }) => role), Array(5).fill(["user", "assistant"]).flat());
  assert.equal(countGaps(messages), 0);
});

test("the first and the last turn are complete, whatever the budget", () => {
  for (const budget of [-100, 0, 1, 150]) {
    const messages = buildMessages(createTurns(5), budget);
    assert.deepEqual(questions(messages), ["q0", "q4"]);
    assert.equal(messages.at(-1)?.content.length, 60);
    assert.equal(countGaps(messages), 1);
  }
});

test("between them, the newest turns that fit are included, uncut", () => {
  const messages = buildMessages(createTurns(10), 499);
  assert.deepEqual(questions(messages), ["q0", "q7", "q8", "q9"]);
  assert.equal(countGaps(messages), 1);
});

test("missing events in the input are marked as a gap", () => {
  const messages = buildMessages([...createTurns(9).slice(0, 2), ...createTurns(9).slice(10)], 10_000);
  assert.deepEqual(questions(messages), ["q0", "q5", "q6", "q7", "q8"]);
  assert.equal(countGaps(messages), 1);
});

test("the pieces of a message are joined as they were said, and are no gap", () => {
  const events = createEvents(
    ["user_message", { content: "q1" }],
    ["text", { content: "I lo", message: "m" }],
    ["text", { content: "ok.", message: "m" }],
    ["text", { content: "Another.", message: "n" }],
    ["user_message", { content: "q2" }],
  );
  assert.deepEqual(buildMessages(events, 1_000).map(({ content }) => content), ["q1", "I look.\n\nAnother.", "q2"]);
});

test("an event that is not sent to the model is not marked as a gap", () => {
  const events = createEvents(
    ["user_message", { content: "q1" }],
    ["text", { content: "a" }],
    ["out_of_band_output", { name: "x", content: "hidden" }],
    ["of_the_future", {}],
    ["user_message", { content: "q2" }],
  );
  const messages = buildMessages(events, 100);
  assert.deepEqual(messages.map(({ content }) => content), ["q1", "a", "q2"]);
});

test("tool calls, results and notes are sent as text, and roles still alternate", () => {
  const events = createEvents(
    ["user_message", { content: "find it" }],
    ["tool_call", { id: "1", name: "grep", input: { for: "it" } }],
    ["tool_result", { tool_use_id: "1", content: "line 7", is_error: false }],
    ["text", { content: "It is in line 7." }],
    ["system_context", { content: "A new invocation began." }],
    ["user_message", { content: "thanks" }],
  );
  assert.deepEqual(buildMessages(events, 1_000), [
    { role: "user", content: "find it" },
    { role: "assistant", content: '[Called grep with {"for":"it"}]' },
    { role: "user", content: "[It answered: line 7]" },
    { role: "assistant", content: "It is in line 7." },
    { role: "user", content: "[A new invocation began.]\n\nthanks" },
  ]);
});

test("corrupt events are omitted, and no events give no messages", () => {
  const [broken] = createEvents(["text", "{"]);
  assert.deepEqual(buildMessages([{ ...(broken as Event), corrupt: true }], 100), []);
  assert.deepEqual(buildMessages([], 100), []);
});

test("every model-visible event type is sent to the model", () => {
  for (const [type, isModelVisible] of Object.entries(EVENT_TYPES)) {
    const messages = buildMessages(createEvents([type, { content: "content", name: "name" }]), 100);
    assert.ok(messages.length === 1 || !isModelVisible, type);
  }
});
