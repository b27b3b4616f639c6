// From stored events to what a language model is given, and back.

import type { Event, NewEvent } from "./protocol";

export interface Message {
  role: "user" | "assistant";
  text: string;
}

/** One question and all that came of it. */
interface Turn {
  first: number;
  last: number;
  messages: Message[];
}

/**
 * The conversation as messages of at most *budget* characters, oldest first. The first and the last turn
 * are always whole, whatever they take; of those between, the newest that fit. A note stands where some
 * are left out.
 */
export function messagesOf(events: readonly Event[], budget: number): Message[] {
  const turns = turnsOf(events);
  const [first, ...others] = turns;
  const last = others.pop();
  if (first === undefined) {
    return [];
  }
  let room = budget - sizeOf(first) - (last === undefined ? 0 : sizeOf(last));
  const kept: Turn[] = last === undefined ? [] : [last];
  for (const turn of others.reverse()) {
    room -= sizeOf(turn);
    if (room < 0) {
      break;
    }
    kept.unshift(turn);
  }
  return merged(withGapsNoted([first, ...kept]).flatMap((turn) => turn.messages));
}

/** What a model answered, as an event. */
export function answerOf(text: string, model: { id: string; vendor: string }): NewEvent {
  return { type: "text", data: { content: text, model: `${model.vendor}/${model.id}` } };
}

function turnsOf(events: readonly Event[]): Turn[] {
  const turns: Turn[] = [];
  for (const event of events) {
    const message = messageOf(event);
    const messages = message === undefined ? [] : [message];
    const turn = turns.at(-1);
    if (turn === undefined || event.type === "user_message") {
      turns.push({ first: event.seq, last: event.seq, messages });
    } else {
      turn.last = event.seq;
      turn.messages.push(...messages);
    }
  }
  return turns;
}

function messageOf(event: Event): Message | undefined {
  const data = (event.data ?? {}) as { [key: string]: unknown };
  switch (event.corrupt ? "" : event.type) {
    case "user_message":
    case "skill_invocation":
      return { role: "user", text: text(data["content"]) };
    case "text":
      return { role: "assistant", text: text(data["content"]) };
    case "tool_call":
      return { role: "assistant", text: `[Called ${text(data["name"])} with ${text(data["input"])}]` };
    case "tool_result":
      return { role: "user", text: `[It answered: ${text(data["content"])}]` };
    case "system_context":
      return { role: "user", text: bracketed(text(data["content"])) };
    default:
      return undefined;
  }
}

/** A note among what was said: a boundary has its brackets already. */
function bracketed(note: string): string {
  return note.startsWith("[") ? note : `[${note}]`;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

function sizeOf(turn: Turn): number {
  return turn.messages.reduce((sum, message) => sum + message.text.length, 0);
}

function withGapsNoted(turns: readonly Turn[]): Turn[] {
  return turns.map((turn, place) => {
    const before = turns[place - 1];
    return before === undefined || isNext(before, turn)
      ? turn
      : { ...turn, messages: [{ role: "user", text: "[Part of the conversation is left out here.]" }, ...turn.messages] };
  });
}

function isNext(before: Turn, turn: Turn): boolean {
  return turn.first === before.last + 1;
}

/** Models expect the roles to take turns. */
function merged(messages: readonly Message[]): Message[] {
  const result: Message[] = [];
  for (const message of messages) {
    const last = result.at(-1);
    if (last?.role === message.role) {
      last.text += `\n\n${message.text}`;
    } else {
      result.push({ ...message });
    }
  }
  return result;
}
