// Converts stored events to the messages of a language model request.

import { groupPieces, joinPieces } from "./pieces";
import type { Event } from "./protocol";
import { isKnownEventType } from "./requests";

/** One message of a request to a language model. */
export interface ModelMessage {
  role: "user" | "assistant";
  content: string;
}

/** One question with its answer: the messages of all events up to the next question. */
interface Turn {
  firstSeq: number;
  lastSeq: number;
  messages: ModelMessage[];
}

/**
 * Build the messages of a conversation, oldest first, in about *budget* characters. The first and the last turn
 * are always included, even beyond the budget; of the turns between them, the newest that fit. Turns are never
 * cut. A note marks each place where turns or events are missing. Roles alternate.
 */
export function buildMessages(events: readonly Event[], budget: number): ModelMessage[] {
  const turns = groupIntoTurns(events);
  const [first, ...others] = turns;
  const last = others.pop();
  if (first === undefined) {
    return [];
  }
  let remaining = budget - countCharacters(first) - (last === undefined ? 0 : countCharacters(last));
  const kept: Turn[] = last === undefined ? [] : [last];
  for (const turn of others.reverse()) {
    remaining -= countCharacters(turn);
    if (remaining < 0) {
      break;
    }
    kept.unshift(turn);
  }
  return mergeSameRoles(markGaps([first, ...kept]).flatMap((turn) => turn.messages));
}

function groupIntoTurns(events: readonly Event[]): Turn[] {
  const turns: Turn[] = [];
  for (const pieces of groupPieces(events)) {
    const event = joinPieces(pieces);
    const lastSeq = event.seq + pieces.length - 1;
    const message = toMessage(event);
    const messages = message === undefined ? [] : [message];
    const turn = turns.at(-1);
    if (turn === undefined || event.type === "user_message") {
      turns.push({ firstSeq: event.seq, lastSeq, messages });
    } else {
      turn.lastSeq = lastSeq;
      turn.messages.push(...messages);
    }
  }
  return turns;
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
      return { role: "user", content: toText(data["content"]) };
    case "text":
      return { role: "assistant", content: toText(data["content"]) };
    case "tool_call":
      return { role: "assistant", content: `[Called ${toText(data["name"])} with ${toText(data["input"])}]` };
    case "tool_result":
      return { role: "user", content: `[It answered: ${toText(data["content"])}]` };
    case "system_context":
      return { role: "user", content: addBrackets(toText(data["content"])) };
    case "out_of_band_output":
    case "thinking":
    case "plan":
    case "permission":
    case "turn_end":
      return undefined;
  }
}

/** A note in brackets; a boundary's content already has them. */
function addBrackets(note: string): string {
  return note.startsWith("[") ? note : `[${note}]`;
}

function toText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

function countCharacters(turn: Turn): number {
  return turn.messages.reduce((sum, message) => sum + message.content.length, 0);
}

function markGaps(turns: readonly Turn[]): Turn[] {
  return turns.map((turn, index) => {
    const previous = turns[index - 1];
    return previous === undefined || turn.firstSeq === previous.lastSeq + 1
      ? turn
      : { ...turn, messages: [{ role: "user", content: "[Part of the conversation is left out here.]" }, ...turn.messages] };
  });
}

/** Merge consecutive messages of one role: language models expect roles to alternate. */
function mergeSameRoles(messages: readonly ModelMessage[]): ModelMessage[] {
  const result: ModelMessage[] = [];
  for (const message of messages) {
    const last = result.at(-1);
    if (last?.role === message.role) {
      last.content += `\n\n${message.content}`;
    } else {
      result.push({ ...message });
    }
  }
  return result;
}
