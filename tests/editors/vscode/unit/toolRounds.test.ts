import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import * as vscode from "vscode";
import type { NewEvent } from "../../../../editors/vscode/src/protocol.ts";
import { answerWithTools, chooseTools, MAX_ROUNDS, type Question } from "../../../../editors/vscode/src/toolRounds.ts";

type Part = vscode.LanguageModelTextPart | vscode.LanguageModelToolCallPart;
type Result = vscode.LanguageModelToolResult["content"];

const text = (value: string) => new vscode.LanguageModelTextPart(value);
const call = (callId: string, name = "look_up", input: object = { word: callId }) => new vscode.LanguageModelToolCallPart(callId, name, input);
const tool = (name: string) => ({ name, description: `${name}.`, tags: [], inputSchema: undefined }) as vscode.LanguageModelToolInformation;
const failure = (error: Error) => () => {
  throw error;
};

let recorded: NewEvent[];
let shown: string;
/** The messages of each request to the model, and the names of its tools. */
let requests: { messages: vscode.LanguageModelChatMessage[]; tools: string[] }[];
let token: { isCancellationRequested: boolean };

beforeEach(() => {
  recorded = [];
  shown = "";
  requests = [];
  token = { isCancellationRequested: false };
  useTools(["look_up"], () => [text("found")]);
});

/** Let VS Code have these tools; *invoke* runs one. */
function useTools(names: string[], invoke: (name: string, input: object) => Result): void {
  const invokeTool = async (name: string, { input }: { input: object }) => ({ content: invoke(name, input) });
  Object.assign(vscode.lm, { tools: names.map(tool), invokeTool });
}

/** A request to a model that gives these answers, one after the other. An answer may end with an error. */
function createRequest(answers: (Part | Error)[][], more: object = {}): vscode.ChatRequest {
  const sendRequest = async (messages: vscode.LanguageModelChatMessage[], options: { tools?: { name: string }[] }) => {
    requests.push({ messages: [...messages], tools: (options.tools ?? []).map(({ name }) => name) });
    const parts = answers[Math.min(requests.length, answers.length) - 1] ?? [];
    const stream = (async function* () {
      for (const part of parts) {
        if (part instanceof Error) {
          throw part;
        }
        yield part;
      }
    })();
    return { stream };
  };
  const model = { vendor: "acme", id: "large", maxInputTokens: 1_000, countTokens: async () => 1, sendRequest };
  return { model, toolReferences: [], toolInvocationToken: undefined, ...more } as unknown as vscode.ChatRequest;
}

/** Answer with what the model gives. */
function answer(...answers: (Part | Error)[][]): Promise<void> {
  const question = {
    request: createRequest(answers),
    stream: { markdown: (value: string) => (shown += value) },
    token,
    messages: [vscode.LanguageModelChatMessage.User("Why?")],
    tools: [tool("look_up")],
    record: async (events: NewEvent[]) => void recorded.push(...events),
  };
  return answerWithTools(question as unknown as Question);
}

const types = () => recorded.map(({ type }) => type);
const results = () => recorded.filter(({ type }) => type === "tool_result").map(({ data }) => data as { content: string; is_error: boolean });

test("an answer without calls is shown and recorded, and is the only request", async () => {
  await answer([text("Be"), text("cause.")]);
  assert.equal(shown, "Because.");
  assert.deepEqual(recorded, [{ type: "text", data: { content: "Because.", model: "acme/large" } }]);
  assert.deepEqual(requests.map(({ tools }) => tools), [["look_up"]]);
});

test("each call is recorded before its tool runs, and goes to the model with its result", async () => {
  const seen: string[][] = [];
  useTools(["look_up"], (_, input) => {
    seen.push(types());
    return [text(`about ${(input as { word: string }).word}`)];
  });
  await answer([text("I look."), call("a"), call("b")], [text("Done.")]);
  assert.deepEqual(seen, [["text", "tool_call", "tool_call"], ["text", "tool_call", "tool_call", "tool_result"]]);
  assert.deepEqual(types(), ["text", "tool_call", "tool_call", "tool_result", "tool_result", "text"]);
  assert.deepEqual(recorded[1], { type: "tool_call", data: { id: "a", name: "look_up", input: { word: "a" } } });
  assert.deepEqual(recorded[4], { type: "tool_result", data: { tool_use_id: "b", content: "about b", is_error: false } });
  assert.deepEqual(requests[1]?.messages.slice(1).map(({ content }) => content), [
    [text("I look."), call("a"), call("b")],
    ["a", "b"].map((id) => new vscode.LanguageModelToolResultPart(id, [text(`about ${id}`)])),
  ]);
});

test("what was received of an answer is recorded if the model fails", async () => {
  await assert.rejects(answer([text("Half"), new Error("the model failed")]), /the model failed/);
  assert.deepEqual(recorded, [{ type: "text", data: { content: "Half", model: "acme/large" } }]);
});

test("the model is told that a tool failed, was not allowed, or does not exist", async () => {
  for (const [run, name, content] of [
    [failure(new Error("no disk")), "look_up", "The tool failed: no disk"],
    [failure(new vscode.CancellationError()), "look_up", "The user did not allow this."],
    [failure(Object.assign(new Error("Canceled"), { name: "Canceled" })), "look_up", "The user did not allow this."],
    [() => [text("never")], "rm", "There is no tool rm."],
  ] as const) {
    recorded = [];
    requests = [];
    useTools(["look_up", "rm"], run);
    await answer([call("a", name)], [text("Done.")]);
    assert.deepEqual(results(), [{ tool_use_id: "a", content, is_error: true }]);
    assert.equal(requests.length, 2);
  }
});

test("each call has a result when the user stops a tool, and the model is not asked again", async () => {
  useTools(["look_up"], () => {
    token.isCancellationRequested = true;
    throw new vscode.CancellationError();
  });
  await answer([call("a"), call("b")], [text("never")]);
  const stopped = ["The user stopped the tool.", "The user stopped this before the tool ran."];
  assert.deepEqual(results().map(({ content, is_error }) => [content, is_error]), stopped.map((each) => [each, true]));
  assert.equal(requests.length, 1);
});

test("no call is recorded if the user stops the answer that has it", async () => {
  token.isCancellationRequested = true;
  await answer([text("I look."), call("a")]);
  assert.deepEqual(types(), ["text"]);
});

test("the rounds have an end, which is said and recorded", async () => {
  await answer([call("a")]);
  assert.equal(requests.length, MAX_ROUNDS + 1);
  assert.equal(results().length, MAX_ROUNDS);
  assert.deepEqual(recorded.at(-1), { type: "turn_end", data: { stop_reason: "max_turn_requests" } });
  assert.match(shown, /Stopped after 25 rounds/);
});

test("a result is recorded with all of its texts, and with the names of its other parts", async () => {
  const rendered = new vscode.LanguageModelPromptTsxPart({ children: [{ text: "a" }, { children: [{ text: "b" }] }] });
  useTools(["look_up"], () => [text("one"), rendered, { mimeType: "image/png", data: [] }, null] as unknown as Result);
  await answer([call("a")], [text("Done.")]);
  assert.equal(results()[0]?.content, "one\nab\n[image/png]\n[something else than text]");
});

/** The names of the tools that are chosen. */
const choose = (choice: "all" | "mentioned" | "none", more: object = {}) => chooseTools(createRequest([], more), choice).map(({ name }) => name);

test("the tools are those of the setting that are switched on, the mentioned ones first", () => {
  useTools(["a", "b", "c"], () => []);
  const toolReferences = [{ name: "c" }];
  assert.deepEqual(choose("all"), ["a", "b", "c"]);
  assert.deepEqual(choose("all", { toolReferences }), ["c", "a", "b"]);
  assert.deepEqual(choose("mentioned", { toolReferences }), ["c"]);
  assert.deepEqual(choose("mentioned"), []);
  assert.deepEqual(choose("none", { toolReferences }), []);
  assert.deepEqual(choose("all", { tools: new Map([["a", true], ["b", false]]) }), ["a"]);
  assert.deepEqual(choose("all", { tools: new Map([[{ name: "b" }, true]]), toolReferences }), ["c", "b"]);
});

test("a model that takes no tools gets none, and no model more than it takes", () => {
  useTools(Array.from({ length: 200 }, (_, index) => `tool_${index}`), () => []);
  assert.equal(choose("all").length, 128);
  assert.equal(choose("all", { toolReferences: [{ name: "tool_199" }] })[0], "tool_199");
  assert.deepEqual(choose("all", { model: { capabilities: { supportsToolCalling: false } } }), []);
});
