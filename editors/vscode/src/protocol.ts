// The server's methods with their params and results. Must match the server's method table: tests/test_docs.py
// compares the two.

import type { Boundary, Event, NewEvent, Placement, Session } from "../segue";

export type { Boundary, Event, NewEvent, Placement, Session };

export interface OpenParams {
  workspace?: string | null;
  sessionId?: string | null;
  mode?: "auto" | "new" | "resume";
  continueMinutes?: number | null;
  tail?: number;
}

export interface OpenResult {
  session: Session;
  invocationId: string;
  resumed: boolean;
  reason: string;
  boundary: Boundary | null;
  events: Event[];
  hasMore: boolean;
  lastEventAt: string | null;
  alternatives: Session[];
}

export interface AppendParams {
  sessionId: string;
  parentId?: string | null;
  events: NewEvent[];
}

export interface AppendResult {
  head: string | null;
  eventCount: number;
  events: Placement[];
  duplicates: number;
}

export interface EventsParams {
  sessionId: string;
  after?: number | null;
  before?: number | null;
  limit?: number;
}

export interface EventsResult {
  events: Event[];
  hasMore: boolean;
}

export interface ListParams {
  cwd?: string | null;
  archived?: boolean;
  cursor?: string | null;
  limit?: number;
}

export interface ListResult {
  sessions: Session[];
  nextCursor: string | null;
}

export interface FindResumableParams {
  workspace?: string | null;
  continueMinutes?: number | null;
}

export interface FindResumableResult {
  session: Session | null;
  reason: string;
  alternatives: Session[];
}

export interface SessionParams {
  sessionId: string;
}

export interface SetServerSessionIdParams {
  sessionId: string;
  serverSessionId: string;
}

export interface GetMetadataParams {
  sessionId: string;
  key: string;
}

export interface GetMetadataResult {
  value: unknown;
}

export interface SetMetadataParams {
  sessionId: string;
  key: string;
  value: unknown;
}

export interface Nothing {
}

/** Every method of the server, with its params and its result. */
export interface Methods {
  "session/open": [OpenParams, OpenResult];
  "session/append": [AppendParams, AppendResult];
  "session/events": [EventsParams, EventsResult];
  "session/list": [ListParams, ListResult];
  "session/findResumable": [FindResumableParams, FindResumableResult];
  "session/reset": [SessionParams, OpenResult];
  "session/archive": [SessionParams, Nothing];
  "session/unarchive": [SessionParams, Nothing];
  "session/delete": [SessionParams, Nothing];
  "session/close": [SessionParams, Nothing];
  "session/setServerSessionId": [SetServerSessionIdParams, Nothing];
  "session/getMetadata": [GetMetadataParams, GetMetadataResult];
  "session/setMetadata": [SetMetadataParams, Nothing];
}

/** The name of a method of the server. */
export type Method = keyof Methods;

/**
 * Every event type that the extension knows, and whether the server counts it as model-visible. `system_context` is
 * not: it alone makes no conversation. It is sent to the model nevertheless, as a note.
 */
export const EVENT_TYPES = {
  user_message: true,
  text: true,
  tool_call: true,
  tool_result: true,
  skill_invocation: true,
  system_context: false,
  out_of_band_output: false,
} as const;

/** An event type that the extension knows. */
export type EventType = keyof typeof EVENT_TYPES;

/** Whether the extension knows this event type. Others are stored and shown as JSON. */
export function isKnownEventType(type: string): type is EventType {
  return Object.hasOwn(EVENT_TYPES, type);
}

/** Send one request. Rejects with a `RefusedError`, or with a `ConnectionLostError` if no response can arrive. */
export type Request = <M extends Method>(method: M, params: Methods[M][0]) => Promise<Methods[M][1]>;

/** The server refused a request. `kind` is one of the error kinds of server/PROTOCOL.md. */
export class RefusedError extends Error {
  override readonly name = "SegueError";

  constructor(
    message: string,
    readonly kind: string,
    readonly data: { [key: string]: unknown },
  ) {
    super(message);
  }
}

/** The connection closed before the response arrived: it is unknown whether the request took effect. */
export class ConnectionLostError extends Error {
  override readonly name = "ConnectionLostError";

  constructor(
    message: string,
    /** The generation of the server that the request was sent to; 0 if no server could be started. */
    readonly generation: number,
  ) {
    super(message);
  }
}

/** Whether *error* is a refusal of this *kind*. */
export function isKind(error: unknown, kind: string): error is RefusedError {
  return error instanceof RefusedError && error.kind === kind;
}
