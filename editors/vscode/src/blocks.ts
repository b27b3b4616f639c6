// What is shown of a conversation: blocks of events, as prose, folds and notes.

import { groupPieces, joinPieces } from "./pieces";
import type { Event } from "./protocol";
import { isKnownEventType } from "./requests";

/** Characters of a line that says what is in a fold. */
const MAX_HINT_LENGTH = 80;
/** Events of one run of tools: a longer one is several blocks, lest the page gets all of it anew with each result. */
const MAX_RUN_LENGTH = 50;
/** How a turn ends if nothing is to be said about it. */
const ORDINARY_ENDS = ["end_turn", "stop", "completed", "tool_use"];

/** Who speaks; nobody, where a program notes something between the messages. */
export type Speaker = "user" | "assistant" | undefined;

/** Text in Markdown that a person or a model wrote. */
export interface Prose {
  kind: "prose";
  text: string;
}

/** Something that is shown on demand: one line, and texts that are shown as they are, or in Markdown. */
export interface Fold {
  kind: "fold";
  label: string;
  hint: string;
  bodies: string[];
  hasFailed?: boolean;
  isMarkdown?: boolean;
}

/** A short remark. */
export interface Note {
  kind: "note";
  text: string;
}

/** What is shown of an event. */
export type Part = Prose | Fold | Note;

/** Events that are shown together: a message with its pieces, a run of tool calls with their results, or one event. */
export interface Block {
  events: [Event, ...Event[]];
  speaker: Speaker;
  /** The model that gave this answer, if the event says so. */
  model: string | undefined;
  /** Empty if there is nothing to show. */
  parts: Part[];
}

/** The blocks of *events*, oldest first. A result whose call is not among the events stands alone. */
export function buildBlocks(events: readonly Event[]): Block[] {
  const blocks: [Event, ...Event[]][] = [];
  for (const pieces of groupPieces(events)) {
    const run = blocks.at(-1);
    if (run !== undefined && isOfTool(run[0]) && isOfTool(pieces[0]) && run.length < MAX_RUN_LENGTH) {
      run.push(...pieces);
    } else {
      blocks.push(pieces);
    }
  }
  return blocks.map((block) => ({ events: block, speaker: findSpeaker(block[0]), model: findModel(block[0]), parts: buildParts(block) }));
}

function isOfTool({ type, corrupt }: Event): boolean {
  return corrupt !== true && ["tool_call", "tool_result", "permission"].includes(type);
}

function findSpeaker({ type }: Event): Speaker {
  if (!isKnownEventType(type)) {
    return undefined;
  }
  switch (type) {
    case "user_message":
    case "skill_invocation":
      return "user";
    case "text":
    case "thinking":
    case "plan":
    case "tool_call":
    case "tool_result":
    case "permission":
      return "assistant";
    case "system_context":
    case "out_of_band_output":
    case "turn_end":
      return undefined;
  }
}

function findModel(event: Event): string | undefined {
  const { model } = toFields(event);
  return event.type === "text" && typeof model === "string" ? model : undefined;
}

function buildParts(events: [Event, ...Event[]]): Part[] {
  return isOfTool(events[0]) ? buildToolParts(events) : [buildPart(joinPieces(events))].filter((part) => part !== undefined);
}

function buildPart(event: Event): Part | undefined {
  const { type } = event;
  if (event.corrupt === true) {
    return fold(type, "unreadable", toText(event.data));
  }
  if (!isKnownEventType(type)) {
    return fold(type, "", toText(event.data));
  }
  const data = toFields(event);
  const content = toText(data["content"]);
  switch (type) {
    case "user_message":
    case "text":
      return content.trim() === "" ? undefined : { kind: "prose", text: content };
    case "thinking":
      return { ...fold("Thinking", shorten(content), content), isMarkdown: true };
    case "skill_invocation":
      return { ...fold(`Skill ${toText(data["name"])}`, shorten(toText(data["arguments"] ?? "")), content), isMarkdown: true };
    case "system_context":
      return fold("Context", shorten(content), content);
    case "out_of_band_output":
      return fold(toText(data["name"]), shorten(toText(data["command"] ?? "")), content);
    case "plan":
      return buildPlan(data["entries"]);
    case "turn_end":
      return buildTurnEnd(data);
    case "tool_call":
    case "tool_result":
    case "permission":
      return fold(type, "", toText(event.data)); // of a known type only if damaged: the others are in a run of tools
  }
}

function buildPlan(entries: unknown): Fold {
  const lines = (Array.isArray(entries) ? entries : []).map((entry: unknown) => {
    const { content, status } = (entry !== null && typeof entry === "object" ? entry : { content: entry }) as { content?: unknown; status?: unknown };
    const mark = status === "completed" ? "x" : status === "in_progress" ? ">" : " ";
    return `[${mark}] ${toText(content)}`;
  });
  return fold("Plan", `${lines.filter((line) => line.startsWith("[x]")).length} of ${lines.length} done`, lines.join("\n"));
}

function buildTurnEnd({ error, stop_reason: reason }: { [key: string]: unknown }): Note | undefined {
  if (error) {
    return { kind: "note", text: `The turn ended with an error: ${toText(error)}` };
  }
  return ORDINARY_ENDS.includes(toText(reason)) ? undefined : { kind: "note", text: `The turn ended: ${toText(reason)}` };
}

/** The calls of a run, each with its result; what belongs to no call of it stands alone. */
function buildToolParts(events: readonly Event[]): Part[] {
  const calls = new Map<string, Fold>();
  const parts: Part[] = [];
  const findOrAdd = (id: unknown, label: string, hint: string): Fold => {
    const call = calls.get(toText(id)) ?? fold(label, hint);
    if (!parts.includes(call)) {
      parts.push(call);
    }
    return call;
  };
  for (const event of events) {
    const data = toFields(event);
    switch (event.type) {
      case "tool_call": {
        const call = fold(toText(data["name"]), findHint(data["input"]), formatInput(data["input"]));
        calls.set(toText(data["id"]), call);
        parts.push(call);
        break;
      }
      case "tool_result": {
        const content = toText(data["content"]);
        const call = findOrAdd(data["tool_use_id"], "Result", shorten(content));
        call.bodies.push(content);
        call.hasFailed = call.hasFailed === true || data["is_error"] === true;
        break;
      }
      default: {
        const answer = [data["outcome"], data["option"]].filter((each) => each != null).map(toText).join(": ");
        findOrAdd(data["tool_use_id"], "Permission", answer).bodies.push(`Permission: ${answer}`);
      }
    }
  }
  return parts;
}

/** The input of a tool: a field in a line, and texts of several lines as they are. */
function formatInput(input: unknown): string {
  if (input === null || typeof input !== "object" || Array.isArray(input)) {
    return toText(input ?? "");
  }
  const lines = Object.entries(input).map(([name, value]) => {
    const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
    return text.includes("\n") ? `${name}:\n${text}` : `${name}: ${text}`;
  });
  return lines.join("\n");
}

/** What tells a call from others of the same tool: the first text that it was given. */
function findHint(input: unknown): string {
  const values: unknown[] = input !== null && typeof input === "object" ? Object.values(input) : [input];
  return shorten(values.find((value): value is string => typeof value === "string" && value.trim() !== "") ?? "");
}

function fold(label: string, hint: string, ...bodies: string[]): Fold {
  return { kind: "fold", label, hint, bodies };
}

function shorten(text: string): string {
  const line = text.slice(0, 4 * MAX_HINT_LENGTH).replace(/\s+/g, " ").trim();
  const characters = [...line];
  return characters.length > MAX_HINT_LENGTH ? `${characters.slice(0, MAX_HINT_LENGTH - 1).join("")}…` : line;
}

function toFields({ data }: Event): { [key: string]: unknown } {
  return data !== null && typeof data === "object" ? { ...data } : { content: data };
}

function toText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}
