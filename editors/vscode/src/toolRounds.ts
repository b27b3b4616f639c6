// Lets a language model answer a question with the tools of VS Code: it calls some, gets their results, and goes on.

import * as vscode from "vscode";
import type { NewEvent } from "./protocol";

/** So many times a model gets results for one question. */
export const MAX_ROUNDS = 25;
/** Models refuse a request with more. */
const MAX_TOOLS = 128;
/** The part of a model's input that one result should fill at most. */
const RESULT_SHARE = 0.25;

/** A question with what is needed to answer it. */
export interface Question {
  request: vscode.ChatRequest;
  stream: vscode.ChatResponseStream;
  token: vscode.CancellationToken;
  /** What the model is asked, with the conversation before it. Grows with each round. */
  messages: vscode.LanguageModelChatMessage[];
  tools: readonly vscode.LanguageModelToolInformation[];
  /** Record a part of the answer; resolves when it is on disk, or kept because it cannot be stored for now. */
  record(events: NewEvent[]): Promise<void>;
}

/** The setting `segue.tools`. */
export type ToolChoice = "all" | "mentioned" | "none";

/**
 * The tools that a model may use for a request: those that the user has switched on, where VS Code tells which, else all
 * of *choice*; those that the question mentions come first.
 */
export function chooseTools(request: vscode.ChatRequest, choice: ToolChoice): vscode.LanguageModelToolInformation[] {
  const { capabilities } = request.model as { capabilities?: { supportsToolCalling?: boolean } }; // later than 1.95
  if (choice === "none" || capabilities?.supportsToolCalling === false) {
    return [];
  }
  const mentioned = new Set(request.toolReferences.map(({ name }) => name));
  const isOn = findSwitchedOn(request);
  const isChosen = (name: string) => mentioned.has(name) || (choice === "all" && (isOn?.has(name) ?? true));
  const tools = vscode.lm.tools.filter(({ name }) => isChosen(name));
  return tools.sort((a, b) => Number(mentioned.has(b.name)) - Number(mentioned.has(a.name))).slice(0, MAX_TOOLS);
}

/**
 * Answer a question, and record the answer as it comes: a text when it is complete, a call before its tool runs, and
 * its result. What was received is recorded too if the model fails or the user stops it.
 */
export async function answerWithTools(question: Question): Promise<void> {
  const { stream, token, messages } = question;
  for (let round = 0; ; round += 1) {
    const { text, calls } = await ask(question);
    if (calls.length === 0 || token.isCancellationRequested) {
      return;
    }
    if (round === MAX_ROUNDS) {
      stream.markdown(`\n\n*Stopped after ${MAX_ROUNDS} rounds of tools. Ask to go on.*`);
      await question.record([{ type: "turn_end", data: { stop_reason: "max_turn_requests" } }]);
      return;
    }
    await question.record(calls.map(({ callId, name, input }) => ({ type: "tool_call", data: { id: callId, name, input: { ...input } } })));
    const results: vscode.LanguageModelToolResultPart[] = [];
    for (const call of calls) {
      const { content, isError } = await run(question, call);
      results.push(new vscode.LanguageModelToolResultPart(call.callId, content));
      await question.record([{ type: "tool_result", data: { tool_use_id: call.callId, content: toText(content), is_error: isError } }]);
    }
    if (token.isCancellationRequested) {
      return;
    }
    const said = text === "" ? [] : [new vscode.LanguageModelTextPart(text)];
    messages.push(vscode.LanguageModelChatMessage.Assistant([...said, ...calls]), vscode.LanguageModelChatMessage.User(results));
  }
}

/** Ask the model once, and show and record what it says. */
async function ask({ request, stream, token, messages, tools, record }: Question): Promise<Response> {
  const { model } = request;
  const offered = tools.map(({ name, description, inputSchema }) => ({ name, description, ...(inputSchema === undefined ? {} : { inputSchema }) }));
  const calls: vscode.LanguageModelToolCallPart[] = [];
  let text = "";
  try {
    const response = await model.sendRequest(messages, offered.length === 0 ? {} : { tools: offered }, token);
    for await (const part of response.stream) {
      if (part instanceof vscode.LanguageModelTextPart) {
        text += part.value;
        stream.markdown(part.value);
      } else if (part instanceof vscode.LanguageModelToolCallPart) {
        calls.push(part);
      }
    }
  } finally {
    if (text !== "") {
      await record([{ type: "text", data: { content: text, model: `${model.vendor}/${model.id}` } }]);
    }
  }
  return { text, calls };
}

interface Response {
  text: string;
  calls: vscode.LanguageModelToolCallPart[];
}

interface Result {
  content: vscode.LanguageModelToolResult["content"];
  isError: boolean;
}

/** Run a tool. VS Code shows its progress, and asks the user first where the tool wants that. Never rejects. */
async function run({ request, token, tools }: Question, { name, input }: vscode.LanguageModelToolCallPart): Promise<Result> {
  if (token.isCancellationRequested) {
    return toError("The user stopped this before the tool ran.");
  }
  if (!tools.some((tool) => tool.name === name)) {
    return toError(`There is no tool ${name}.`);
  }
  const tokenizationOptions = {
    tokenBudget: Math.floor(request.model.maxInputTokens * RESULT_SHARE),
    countTokens: async (text: string) => request.model.countTokens(text),
  };
  try {
    const { toolInvocationToken } = request;
    const { content } = await vscode.lm.invokeTool(name, { input, toolInvocationToken, tokenizationOptions }, token);
    return { content, isError: false };
  } catch (error) {
    if (token.isCancellationRequested) {
      return toError("The user stopped the tool.");
    }
    const { name: kind, message } = error as Error;
    return toError(kind === "Canceled" || error instanceof vscode.CancellationError ? "The user did not allow this." : `The tool failed: ${message}`);
  }
}

function toError(message: string): Result {
  return { content: [new vscode.LanguageModelTextPart(message)], isError: true };
}

/** The text of a result, as it is recorded; other parts are named. */
function toText(content: Result["content"]): string {
  return content.map((part) => {
    if (part instanceof vscode.LanguageModelTextPart) {
      return part.value;
    }
    if (part instanceof vscode.LanguageModelPromptTsxPart) {
      return collectText(part.value).join("");
    }
    const { mimeType } = (part ?? {}) as { mimeType?: unknown };
    return `[${typeof mimeType === "string" ? mimeType : "something else than text"}]`;
  }).join("\n");
}

/** Every text in the tree that stands for a rendered prompt. */
function collectText(node: unknown): string[] {
  if (node === null || typeof node !== "object") {
    return [];
  }
  const { text, ...others } = node as { text?: unknown };
  return [...(typeof text === "string" ? [text] : []), ...Object.values(others).flatMap(collectText)];
}

/** The names of the tools that are switched on in the chat view; undefined where the API does not have them. */
function findSwitchedOn(request: vscode.ChatRequest): Set<string> | undefined {
  const { tools } = request as { tools?: ReadonlyMap<string | { name: string }, boolean> };
  return tools instanceof Map
    ? new Set([...tools].filter(([, isOn]) => isOn).map(([tool]) => (typeof tool === "string" ? tool : tool.name)))
    : undefined;
}
