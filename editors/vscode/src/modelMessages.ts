// Converts stored events to the messages of a language model request.

import { groupPieces, joinPieces } from "./pieces";
import type { Event } from "./protocol";
import { isKnownEventType } from "./requests";

/** A part of a message: a text, or a call of a tool, or its result. */
export type MessagePart =
  | { kind: "text"; text: string }
  | { kind: "call"; id: string; name: string; input: object }
  | { kind: "result"; id: string; text: string };

/** One message of a request to a language model. */
export interface ModelMessage {
  role: "user" | "assistant";
  parts: MessagePart[];
}

/** One question with its answer: the messages of all events up to the next question. */
interface Turn {
  firstSeq: number;
  lastSeq: number;
  events: Event[];
  messages: ModelMessage[];
}

/**
 * Build the messages of a conversation, oldest first, in about *budget* characters. The first and the last turn
 * are always included, even beyond the budget; of the turns between them, the newest that fit. Turns are never
 * cut. A note marks each place where turns or events are missing. Roles alternate. Calls of *tools*, by their names,
 * with all their results are calls and results for the model; other ones are told as text, which no model refuses.
 */
export function buildMessages(events: readonly Event[], budget: number, tools: ReadonlySet<string> = new Set()): ModelMessage[] {
  const turns = groupIntoTurns(events, tools);
  const [first, ...others] = turns;
  const last = others.pop();
  if (first === undefined) {
    return [];
  }
  let remaining = budget - countTurn(first) - (last === undefined ? 0 : countTurn(last));
  const kept: Turn[] = last === undefined ? [] : [last];
  for (const turn of others.reverse()) {
    remaining -= countTurn(turn);
    if (remaining < 0) {
      break;
    }
    kept.unshift(turn);
  }
  return nameCalls(mergeSameRoles(markGaps([first, ...kept]).flatMap((turn) => turn.messages)));
}

/** The length of messages in characters. */
export function countCharacters(messages: readonly ModelMessage[]): number {
  return messages.flatMap(({ parts }) => parts).reduce((sum, part) => sum + toPlainText(part).length, 0);
}

function groupIntoTurns(events: readonly Event[], tools: ReadonlySet<string>): Turn[] {
  const turns: Turn[] = [];
  for (const pieces of groupPieces(events)) {
    const event = joinPieces(pieces);
    const lastSeq = event.seq + pieces.length - 1;
    const turn = turns.at(-1);
    if (turn === undefined || event.type === "user_message") {
      turns.push({ firstSeq: event.seq, lastSeq, events: [event], messages: [] });
    } else {
      turn.lastSeq = lastSeq;
      turn.events.push(event);
    }
  }
  for (const turn of turns) {
    turn.messages = tellTornCalls(turn.events.map(toMessage).filter((message) => message !== undefined), tools);
  }
  return turns;
}

/**
 * Tell calls and results as text, except where each call of a run has exactly one result before anything else is said,
 * and is of one of *tools*. Models refuse a request with other ones.
 */
function tellTornCalls(messages: readonly ModelMessage[], tools: ReadonlySet<string>): ModelMessage[] {
  const told: ModelMessage[] = [];
  for (let next = 0; next < messages.length; ) {
    const calls = takeWhile(messages, next, "call");
    const results = takeWhile(messages, next + calls.length, "result");
    const run = messages.slice(next, next + Math.max(1, calls.length + results.length));
    next += run.length;
    const isWhole = calls.every(({ name }) => tools.has(name)) && haveSameIds(calls, results);
    told.push(...(isWhole ? run : run.map(({ role, parts }) => ({ role, parts: parts.map((part) => text(toPlainText(part))) }))));
  }
  return told;
}

function takeWhile<K extends MessagePart["kind"]>(messages: readonly ModelMessage[], from: number, kind: K): Extract<MessagePart, { kind: K }>[] {
  const taken: Extract<MessagePart, { kind: K }>[] = [];
  for (let part = messages[from]?.parts[0]; part?.kind === kind; part = messages[from + taken.length]?.parts[0]) {
    taken.push(part as Extract<MessagePart, { kind: K }>);
  }
  return taken;
}

function haveSameIds(calls: readonly { id: string }[], results: readonly { id: string }[]): boolean {
  const ids = new Set(calls.map(({ id }) => id));
  return ids.size === calls.length && results.length === calls.length && results.every(({ id }) => ids.delete(id));
}

/** Give calls and their results ids that no other call of the request has, whatever program has stored them. */
function nameCalls(messages: readonly ModelMessage[]): ModelMessage[] {
  const names = new Map<string, string>();
  let count = 0;
  const name = (part: MessagePart): MessagePart => {
    if (part.kind === "call") {
      count += 1;
      names.set(part.id, `earlier_${count}`);
    }
    return part.kind === "text" ? part : { ...part, id: names.get(part.id) ?? part.id };
  };
  return messages.map(({ role, parts }) => ({ role, parts: parts.map(name) }));
}

/** The message of an event; undefined if the event is corrupt, unknown, or not meant for the model. */
function toMessage(event: Event): ModelMessage | undefined {
  const { type } = event;
  if (event.corrupt || !isKnownEventType(type)) {
    return undefined;
  }
  const data = (event.data ?? {}) as { [key: string]: unknown };
  switch (type) {
    case "user_message":
    case "skill_invocation":
      return { role: "user", parts: [text(toText(data["content"]))] };
    case "text":
      return { role: "assistant", parts: [text(toText(data["content"]))] };
    case "tool_call":
      return { role: "assistant", parts: [toCall(data)] };
    case "tool_result":
      return { role: "user", parts: [{ kind: "result", id: toText(data["tool_use_id"]), text: toText(data["content"]) }] };
    case "system_context":
      return { role: "user", parts: [text(addBrackets(toText(data["content"])))] };
    case "out_of_band_output":
    case "thinking":
    case "plan":
    case "permission":
    case "turn_end":
      return undefined;
  }
}

/** A call; as text if its input is none that a model can have given. */
function toCall({ id, name, input }: { [key: string]: unknown }): MessagePart {
  return input !== null && typeof input === "object" && !Array.isArray(input)
    ? { kind: "call", id: toText(id), name: toText(name), input }
    : text(describeCall(name, input));
}

function describeCall(name: unknown, input: unknown): string {
  return `[Called ${toText(name)} with ${toText(input)}]`;
}

function toPlainText(part: MessagePart): string {
  switch (part.kind) {
    case "text":
      return part.text;
    case "call":
      return describeCall(part.name, part.input);
    case "result":
      return `[It answered: ${part.text}]`;
  }
}

function text(content: string): MessagePart {
  return { kind: "text", text: content };
}

/** A note in brackets; a boundary's content already has them. */
function addBrackets(note: string): string {
  return note.startsWith("[") ? note : `[${note}]`;
}

function toText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

function countTurn({ messages }: Turn): number {
  return countCharacters(messages);
}

function markGaps(turns: readonly Turn[]): Turn[] {
  return turns.map((turn, index) => {
    const previous = turns[index - 1];
    return previous === undefined || turn.firstSeq === previous.lastSeq + 1
      ? turn
      : { ...turn, messages: [{ role: "user", parts: [text("[Part of the conversation is left out here.]")] }, ...turn.messages] };
  });
}

/** Merge consecutive messages of one role, and their texts: language models expect roles to alternate. */
function mergeSameRoles(messages: readonly ModelMessage[]): ModelMessage[] {
  const merged: ModelMessage[] = [];
  for (const { role, parts } of messages) {
    const last = merged.at(-1);
    if (last?.role === role) {
      parts.forEach((part) => addPart(last.parts, part));
    } else {
      merged.push({ role, parts: [...parts] });
    }
  }
  return merged;
}

function addPart(parts: MessagePart[], part: MessagePart): void {
  const last = parts.at(-1);
  if (last?.kind === "text" && part.kind === "text") {
    parts[parts.length - 1] = text(`${last.text}\n\n${part.text}`);
  } else {
    parts.push(part);
  }
}
