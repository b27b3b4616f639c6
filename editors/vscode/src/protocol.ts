// Made from the server's method table by `python tests/generate.py`. Do not edit.

import type { Boundary, Event, EventPosition, Invocation, NewEvent, Session } from "../segue";

export type { Boundary, Event, EventPosition, Invocation, NewEvent, Session };

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
  reasonCode: "named" | "new" | "empty" | "reset" | "forked" | "newestInRepository" | "newestInDirectory" | "nothingFits" | "neverByItself";
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
  agent?: string | null;
  model?: string | null;
}

export interface AppendResult {
  head: string | null;
  eventCount: number;
  events: EventPosition[];
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
  invocations: Invocation[];
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
  reasonCode: "named" | "new" | "empty" | "reset" | "forked" | "newestInRepository" | "newestInDirectory" | "nothingFits" | "neverByItself";
  alternatives: Session[];
}

export interface ForkParams {
  sessionId: string;
  at?: string | null;
  title?: string | null;
  archiveOriginal?: boolean;
  workspace?: string | null;
  newSessionId?: string | null;
  tail?: number;
}

export interface SetTitleParams {
  sessionId: string;
  title: string | null;
}

export interface SessionResult {
  session: Session;
}

export interface ExportParams {
  sessionId: string;
  format: "markdown" | "jsonl" | "html";
  cursor?: string | null;
}

export interface ExportResult {
  content: string;
  nextCursor: string | null;
  mediaType: string;
  fileName: string;
}

export interface SessionParams {
  sessionId: string;
}

export interface Nothing {
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

/** Every method of the server, with its params and its result. */
export interface Methods {
  "session/open": [OpenParams, OpenResult];
  "session/append": [AppendParams, AppendResult];
  "session/events": [EventsParams, EventsResult];
  "session/list": [ListParams, ListResult];
  "session/findResumable": [FindResumableParams, FindResumableResult];
  "session/fork": [ForkParams, OpenResult];
  "session/setTitle": [SetTitleParams, SessionResult];
  "session/export": [ExportParams, ExportResult];
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

/** May be sent again, unchanged, after the response was lost with the server. */
export const RETRIABLE_METHODS: readonly Method[] = [
  "session/open",
  "session/events",
  "session/list",
  "session/findResumable",
  "session/fork",
  "session/setTitle",
  "session/export",
  "session/archive",
  "session/unarchive",
  "session/delete",
  "session/close",
  "session/getMetadata",
];

/** The known event types, and whether they are sent to a model. */
export const EVENT_TYPES = {
  user_message: true,
  text: true,
  tool_call: true,
  tool_result: true,
  skill_invocation: true,
  system_context: false,
  out_of_band_output: false,
  thinking: false,
  plan: false,
  permission: false,
  turn_end: false,
} as const;
