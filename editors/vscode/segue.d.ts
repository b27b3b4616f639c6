/**
 * What the extension Segue offers to other extensions.
 *
 * ```ts
 * const segue = await vscode.extensions.getExtension<SegueApi>("segue.segue")?.activate();
 * const { session, events } = await segue.open({ workspace: folder.uri });
 * await segue.append(session.sessionId, [{ type: "user_message", data: { content: "Hello" } }]);
 * ```
 *
 * Copy this file; add `"segue.segue"` to your `extensionDependencies`. A change that could break you gets
 * another `apiVersion`. Types of events: server/PROTOCOL.md of Segue.
 */

import type { Event as VscodeEvent, Uri } from "vscode";

export interface SegueApi {
  readonly apiVersion: 1;

  /**
   * Open a conversation: the one that is named, one that fits the workspace, or a new one. It becomes the
   * current one of its workspace folder.
   */
  open(options?: OpenOptions): Promise<Opened>;

  /**
   * Record events, all of them or none. Resolves when they are on disk, in the order of the calls. Events
   * without an id are given one. While the server is away they are kept, and sent again with the same ids
   * when it is back: do not send them again yourself.
   *
   * Rejects with a `SegueError` if they are refused. `HeadMoved`: another window has written; `open` the
   * session again, look at what is new to you, and append anew.
   */
  append(sessionId: string, events: readonly NewEvent[]): Promise<Appended>;

  /** Read a page of events, oldest first: above seq `after`, below seq `before`, or the newest. */
  events(sessionId: string, page?: Page): Promise<EventPage>;

  /** List the conversations of a workspace, or of all, newest first. */
  list(options?: ListOptions): Promise<SessionPage>;

  /** Archive an open conversation and begin a new one in its place. */
  reset(sessionId: string): Promise<Opened>;

  /** Put a conversation aside. */
  archive(sessionId: string): Promise<void>;

  /** Events of this window are on disk. */
  readonly onDidAppend: VscodeEvent<AppendedEvents>;

  /** A folder has another current conversation, or none. */
  readonly onDidChangeSession: VscodeEvent<SessionChange>;
}

export interface OpenOptions {
  /** A folder; else the active editor's workspace folder, else the first. */
  workspace?: Uri | string;
  /** This one, archived or not, whatever its age. */
  sessionId?: string;
  /** `auto` (the default): resume if something fits, else new. `resume`: else reject. `new`: never resume. */
  mode?: "auto" | "new" | "resume";
  /** How old it may be to be resumed; else as the settings say. */
  continueMinutes?: number;
  /** How many of the newest events are wanted back: 0 to 1,000, default 200. */
  tail?: number;
}

export interface Page {
  after?: number;
  before?: number;
  /** 1 to 1,000, default 200. */
  limit?: number;
}

export interface ListOptions {
  /** Only of this folder and its repository's worktrees. */
  workspace?: Uri | string;
  archived?: boolean;
  /** The `nextCursor` of the page before. */
  cursor?: string;
  limit?: number;
}

export interface Session {
  sessionId: string;
  title: string | null;
  directory: string;
  gitRoot: string | null;
  serverSessionId: string | null;
  head: string | null;
  eventCount: number;
  createdAt: string;
  updatedAt: string;
  archivedAt: string | null;
  forkedFrom: string | null;
}

export interface Event {
  id: string;
  seq: number;
  parentId: string | null;
  invocationId: string;
  createdAt: string;
  type: string;
  data: unknown;
  corrupt?: boolean;
}

export interface NewEvent {
  id?: string | null;
  type: string;
  data: { [key: string]: unknown };
}

export interface Placement {
  id: string;
  seq: number;
}

export interface Boundary {
  id: string;
  type: string;
  data: { [key: string]: unknown };
}

export interface Opened {
  session: Session;
  invocationId: string;
  resumed: boolean;
  /** Why this one, for people. */
  reason: string;
  /** Tell it to the model after `events`; it is stored before the first event that you append. */
  boundary: Boundary | null;
  events: Event[];
  hasMore: boolean;
  lastEventAt: string | null;
  alternatives: Session[];
}

export interface Appended {
  /**
   * Where the events are. Not what was given only if a session that nothing had been stored of yet was lost
   * with the server: then it began anew.
   */
  sessionId: string;
  head: string | null;
  eventCount: number;
  events: Placement[];
  duplicates: number;
}

export interface EventPage {
  events: Event[];
  hasMore: boolean;
}

export interface SessionPage {
  sessions: Session[];
  nextCursor: string | null;
}

export interface AppendedEvents extends Appended {
  appended: readonly NewEvent[];
}

export interface SessionChange {
  /** The folder's URI. */
  folder: string;
  session: Session | undefined;
}

/** What a request was refused for; `kind` is one of server/PROTOCOL.md's. */
export interface SegueError extends Error {
  readonly kind: string;
  readonly data: { [key: string]: unknown };
}
