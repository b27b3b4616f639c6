// This file mirrors server/segue/lsp/protocol.py; tests/test_docs.py holds the two against each other.

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

/** Every method, with its params and its result. */
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

export type Method = keyof Methods;

/** One request; rejects with a `RefusedError` or, if no answer can come any more, a `LostError`. */
export type Request = <M extends Method>(method: M, params: Methods[M][0]) => Promise<Methods[M][1]>;

/** The server refused a request; `kind` says why, as server/PROTOCOL.md lists it. */
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

/** The server went away before it answered: whether the request took effect is not known. */
export class LostError extends Error {
  override readonly name = "LostError";

  constructor(
    message: string,
    /** Which run of the server it was lost with. */
    readonly run: number,
  ) {
    super(message);
  }
}

/** Tell whether *error* is a refusal of this *kind*. */
export function isKind(error: unknown, kind: string): error is RefusedError {
  return error instanceof RefusedError && error.kind === kind;
}
