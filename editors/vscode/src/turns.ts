// Divides a conversation into turns: a question with everything up to the next one.

import type { Event } from "./protocol";

/** A question with its answer. */
export interface Turn {
  /** What was asked. */
  question: string;
  askedAt: string;
  /** The last event of the turn: a note that another invocation begins belongs to neither turn. */
  last: Event;
}

/** The turns of *events*, oldest first. What precedes the first question is in none. */
export function findTurns(events: readonly Event[]): Turn[] {
  const turns: Turn[] = [];
  for (const event of events) {
    const turn = turns.at(-1);
    if (event.type === "user_message") {
      turns.push({ question: toText(event.data), askedAt: event.createdAt, last: event });
    } else if (turn !== undefined && event.type !== "system_context") {
      turn.last = event;
    }
  }
  return turns;
}

function toText(data: unknown): string {
  const { content } = (data ?? {}) as { content?: unknown };
  return typeof content === "string" ? content : "";
}
