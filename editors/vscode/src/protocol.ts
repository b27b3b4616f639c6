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
  reasonCode: "named" | "new" | "empty" | "reset" | "forked" | "newestInRepository" | "newestInDirectory" | "newestOnOtherMachine" | "nothingFits" | "neverByItself";
  boundary: Boundary | null;
  events: Event[];
  hasMore: boolean;
  lastEventAt: string | null;
  alternatives: Session[];
  moved: MovedCheckout | null;
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
  sources?: string[] | null;
  order?: "updated" | "lastPrompt";
  cursor?: string | null;
  limit?: number;
}

export interface ListResult {
  sessions: Session[];
  nextCursor: string | null;
  open: string[];
}

export interface SearchParams {
  query: string;
  cwd?: string | null;
  archived?: boolean;
  types?: string[] | null;
  sources?: string[] | null;
  sessionId?: string | null;
  cursor?: string | null;
  limit?: number;
}

export interface SearchResult {
  hits: SearchHit[];
  nextCursor: string | null;
  complete: boolean;
}

export interface FollowParams {
  sessionId?: string | null;
  after?: number | null;
}

export interface FollowResult {
  after: number | null;
}

export interface UnfollowParams {
  sessionId?: string | null;
}

export interface Nothing {
}

export interface FindResumableParams {
  workspace?: string | null;
  continueMinutes?: number | null;
}

export interface FindResumableResult {
  session: Session | null;
  reason: string;
  reasonCode: "named" | "new" | "empty" | "reset" | "forked" | "newestInRepository" | "newestInDirectory" | "newestOnOtherMachine" | "nothingFits" | "neverByItself";
  alternatives: Session[];
  moved: MovedCheckout | null;
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

export interface ResumeCommand {
  command: string[] | null;
  directory: string;
  program: string | null;
}

export interface RelocateParams {
  oldRoot: string;
  newRoot: string;
  declined?: boolean;
}

export interface RelocateResult {
  moved: number;
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

export interface Appended {
  sessionId: string;
  session: Session | null;
  events: Event[];
  invocations: Invocation[];
}

export interface MovedCheckout {
  oldRoot: string;
  newRoot: string;
  session: Session;
}

export interface SearchHit {
  session: Session;
  event: FoundEvent | null;
  excerpt: Piece[];
}

export interface FoundEvent {
  id: string;
  seq: number;
  type: string;
  createdAt: string;
}

export interface Piece {
  text: string;
  match: boolean;
}

/** Every method of the server, with its params and its result. */
export interface Methods {
  "session/open": [OpenParams, OpenResult];
  "session/append": [AppendParams, AppendResult];
  "session/events": [EventsParams, EventsResult];
  "session/list": [ListParams, ListResult];
  "session/search": [SearchParams, SearchResult];
  "session/follow": [FollowParams, FollowResult];
  "session/unfollow": [UnfollowParams, Nothing];
  "session/findResumable": [FindResumableParams, FindResumableResult];
  "session/fork": [ForkParams, OpenResult];
  "session/setTitle": [SetTitleParams, SessionResult];
  "session/export": [ExportParams, ExportResult];
  "session/resumeCommand": [SessionParams, ResumeCommand];
  "session/relocate": [RelocateParams, RelocateResult];
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

/** Every notification of the server, with its params. */
export interface Notifications {
  "session/didAppend": Appended;
  "session/didChangeList": Nothing;
}

/** May be sent again, unchanged, after the response was lost with the server. */
export const RETRIABLE_METHODS: readonly Method[] = [
  "session/open",
  "session/events",
  "session/list",
  "session/search",
  "session/follow",
  "session/unfollow",
  "session/findResumable",
  "session/fork",
  "session/setTitle",
  "session/export",
  "session/resumeCommand",
  "session/relocate",
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

/** What people call the program that a conversation was imported from, by its `source`. */
export const SOURCE_TITLES: { readonly [source: string]: string } = {
  "segue": "Segue",
  "claude-code": "Claude Code",
  "codex": "Codex",
  "copilot-cli": "Copilot CLI",
  "codecompanion-history": "codecompanion-history.nvim",
  "gemini-cli": "Gemini CLI",
  "opencode": "OpenCode",
  "vscode-chat": "VS Code chat",
  "atuin": "Atuin AI",
  "avante": "avante.nvim",
  "copilot-chat": "CopilotChat.nvim",
};
