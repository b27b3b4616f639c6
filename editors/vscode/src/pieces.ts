// Messages in pieces: the one rule of which events are one message.

import type { Event } from "./protocol";

/** Group *events*, oldest first, by message: consecutive pieces are one group, every other event is its own. */
export function groupPieces(events: readonly Event[]): [Event, ...Event[]][] {
  const groups: [Event, ...Event[]][] = [];
  for (const event of events) {
    const group = groups.at(-1);
    if (group !== undefined && continuesMessage(group[0], event)) {
      group.push(event);
    } else {
      groups.push([event]);
    }
  }
  return groups;
}

/** The first of the *pieces* of a message, with the content of all. */
export function joinPieces(pieces: readonly [Event, ...Event[]]): Event {
  const [first, ...others] = pieces;
  if (others.length === 0) {
    return first;
  }
  const content = pieces.map(({ data }) => (data as { content: string }).content).join("");
  return { ...first, data: { ...(first.data as object), content } };
}

function continuesMessage(before: Event, event: Event): boolean {
  if (before.type !== event.type || !["text", "thinking"].includes(event.type)) {
    return false;
  }
  const message = getMessage(before);
  return message !== undefined && message === getMessage(event);
}

/** The id of the message that an event is a piece of; undefined if it cannot be one. */
function getMessage({ data }: Event): unknown {
  const { message, content } = (data ?? {}) as { message?: unknown; content?: unknown };
  return typeof content === "string" ? (message ?? undefined) : undefined;
}
