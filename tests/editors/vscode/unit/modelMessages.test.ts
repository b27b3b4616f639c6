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

/** What a message says, if that is text alone. */
const textOf = ({ parts }: ModelMessage) => parts.map((part) => (part.kind === "text" ? part.text : `<${part.kind} ${part.id}>`)).join(" ");

const questions = (messages: ModelMessage[]) => messages.flatMap((message) => [...textOf(message).matchAll(/q\d+/g)].map(String));
const countGaps = (messages: ModelMessage[]) => messages.filter((message) => textOf(message).includes("left out here")).length;

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
    assert.equal(messages.slice(-1).map(textOf).join().length, 60);
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
  assert.deepEqual(buildMessages(events, 1_000).map(textOf), ["q1", "I look.\n\nAnother.", "q2"]);
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
  assert.deepEqual(messages.map(textOf), ["q1", "a", "q2"]);
});

const call = (id: string, name = "grep", input: unknown = { for: id }): [string, unknown] => ["tool_call", { id, name, input }];
const result = (id: string): [string, unknown] => ["tool_result", { tool_use_id: id, content: `line ${id}`, is_error: false }];
const TOOLS = new Set(["grep", "ls"]);

/** The messages of a question and these events, as text; calls and results as `<call …>` and `<result …>`. */
const tell = (events: [string, unknown][], tools = TOOLS) =>
  buildMessages(createEvents(["user_message", { content: "find it" }], ...events), 1_000, tools).slice(1).map(textOf);

test("tool calls, results and notes are told as text if the model has no tools, and roles still alternate", () => {
  const events = createEvents(
    ["user_message", { content: "find it" }],
    call("1"),
    result("1"),
    ["text", { content: "It is in line 1." }],
    ["system_context", { content: "A new invocation began." }],
    ["user_message", { content: "thanks" }],
  );
  assert.deepEqual(buildMessages(events, 1_000).map((message) => [message.role, textOf(message)]), [
    ["user", "find it"],
    ["assistant", '[Called grep with {"for":"1"}]'],
    ["user", "[It answered: line 1]"],
    ["assistant", "It is in line 1."],
    ["user", "[A new invocation began.]\n\nthanks"],
  ]);
});

test("whole calls of tools that the model has are calls and results, with ids of this request", () => {
  const events = createEvents(
    ["user_message", { content: "find it" }],
    ["text", { content: "I look." }], call("1"), ["permission", { tool_use_id: "2" }], call("2", "ls"), result("2"), result("1"),
    ["text", { content: "And again." }], call("1"), result("1"),
    ["user_message", { content: "thanks" }],
  );
  assert.deepEqual(buildMessages(events, 1_000, TOOLS), [
    { role: "user", parts: [{ kind: "text", text: "find it" }] },
    { role: "assistant", parts: [
      { kind: "text", text: "I look." },
      { kind: "call", id: "earlier_1", name: "grep", input: { for: "1" } },
      { kind: "call", id: "earlier_2", name: "ls", input: { for: "2" } },
    ] },
    { role: "user", parts: [{ kind: "result", id: "earlier_2", text: "line 2" }, { kind: "result", id: "earlier_1", text: "line 1" }] },
    { role: "assistant", parts: [{ kind: "text", text: "And again." }, { kind: "call", id: "earlier_3", name: "grep", input: { for: "1" } }] },
    { role: "user", parts: [{ kind: "result", id: "earlier_3", text: "line 1" }, { kind: "text", text: "thanks" }] },
  ]);
});

test("calls that are torn, or that no model would take, are told as text", () => {
  const asText = (id: string) => [`[Called grep with {"for":"${id}"}]`, `[It answered: line ${id}]`] as const;
  const [called1, answered1] = asText("1");
  const [called2] = asText("2");
  assert.deepEqual(tell([call("1")]), [called1]);
  assert.deepEqual(tell([result("1")]), []); // merged with the question
  assert.deepEqual(tell([call("1"), call("2"), result("1")]), [`${called1}\n\n${called2}`, answered1]);
  assert.deepEqual(tell([call("1"), result("1"), result("1")]), [called1, `${answered1}\n\n${answered1}`]);
  assert.deepEqual(tell([call("1"), result("2")]), [called1, "[It answered: line 2]"]);
  assert.deepEqual(tell([call("1"), call("1"), result("1"), result("1")]).length, 2);
  assert.deepEqual(tell([call("1"), ["text", { content: "Well." }], result("1")]), [`${called1}\n\nWell.`, answered1]);
  assert.deepEqual(tell([call("1", "rm"), result("1")]), ['[Called rm with {"for":"1"}]', answered1]);
  assert.deepEqual(tell([call("1", "grep", "it"), result("1")]), ["[Called grep with it]", answered1]);
  assert.deepEqual(tell([call("1", "grep", ["it"]), result("1")]), ['[Called grep with ["it"]]', answered1]);
  // Only the torn run is text.
  assert.deepEqual(tell([call("1"), result("1"), call("2")]), ["<call earlier_1>", "<result earlier_1>", called2]);
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
