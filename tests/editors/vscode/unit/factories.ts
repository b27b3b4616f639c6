// Makes events and sessions for the tests.

import type { Event, Session } from "../../../../editors/vscode/src/protocol.ts";

/** An event of a conversation, with an id like its seq. */
export function createEvent(seq: number, type: string, data: unknown, more: Partial<Event> = {}): Event {
  return { id: `e${seq}`, seq, parentId: null, invocationId: "i", createdAt: "2026-08-01T12:34:56.000Z", type, data, ...more };
}

/** A session with three events. */
export function createSession(more: Partial<Session> = {}): Session {
  return {
    sessionId: "s", title: "T", directory: "/p", gitRoot: null, serverSessionId: null, head: "e3", eventCount: 3,
    createdAt: "2026-08-01T12:00:00.000Z", updatedAt: "2026-08-01T12:34:56.000Z", archivedAt: null, forkedFrom: null,
    forkedAt: null, source: null, client: null, agent: null, model: null, lastPromptAt: null, branch: null, repository: null,
    machine: null, sharedBy: null, ...more,
  };
}
