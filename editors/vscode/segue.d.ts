/**
 * The API of the extension Segue for other extensions.
 *
 * ```ts
 * const segue = await vscode.extensions.getExtension<SegueApi>("segue.segue")?.activate();
 * const { session, events } = await segue.open({ workspace: folder.uri });
 * await segue.append(session.sessionId, [{ type: "user_message", data: { content: "Hello" } }]);
 * ```
 *
 * Copy this file, and add `"segue.segue"` to your `extensionDependencies`. An incompatible change increments
 * `apiVersion`. The event types are documented in server/PROTOCOL.md of Segue.
 */

import type { Event as VscodeEvent, Uri } from "vscode";

/** What `activate()` of the extension resolves to. */
export interface SegueApi {
  readonly apiVersion: 1;

  /**
   * Open a conversation: the one with `sessionId`, else one that can be resumed in the workspace, else a new one.
   * It becomes the current conversation of its workspace folder.
   */
  open(options?: OpenOptions): Promise<Opened>;

  /**
   * Append events, all of them or none. Resolves when they are on disk. Concurrent calls are stored in call order.
   * Events without an id are given one. The events are copied: changing them afterwards changes nothing.
   *
   * While the server or its store is away (it was killed or cannot be started, the disk is full, the database is
   * locked, read-only or damaged), the events are kept and sent again with the same ids: do not resend them yourself.
   * The promise stays pending until then. Events of a conversation that was archived meanwhile are stored in it.
   *
   * If another window has appended to the conversation first, this one goes on in a fork that ends with the last event
   * that this window knows: these events and all later ones are stored there, also if the old id is given, and the user
   * is told once. `sessionId` of the result names the fork, and if the conversation is the current one of a folder,
   * `onDidChangeSession` fires.
   *
   * Rejects with a `SegueError` if they cannot be stored; nothing of the call is stored then, and later calls go on.
   * Its `kind` is
   * - `InvalidParams`: an event is not valid, or has no JSON (NaN, a function, a BigInt, a cycle, a getter that throws),
   *   nests deeper than 256 levels, or the call is larger than 60 MiB. `message` and `data.errors` name the place.
   * - `EventConflict`: an id is stored already with other content. `data.eventId` is that id.
   * - `SessionNotFound`: the session was deleted.
   * - `OutboxFull`: more than 128 MiB or 100,000 events would be kept for a server or store that is away.
   * - `Failed`: an error of the server that has no kind. Nothing was written.
   */
  append(sessionId: string, events: readonly NewEvent[], options?: AppendOptions): Promise<Appended>;

  /** Read a page of events, oldest first: those after seq `after`, those before seq `before`, or the newest. */
  events(sessionId: string, page?: Page): Promise<EventPage>;

  /** List the conversations of one workspace, or of all workspaces, newest first. */
  list(options?: ListOptions): Promise<SessionPage>;

  /** Archive an open conversation and start a new one in its place. */
  reset(sessionId: string): Promise<Opened>;

  /** Archive a conversation: it is never resumed automatically, and listed only on request. */
  archive(sessionId: string): Promise<void>;

  /**
   * Make a new conversation that begins with the events of another one, which is not changed and need not be open. It
   * becomes the current conversation of `workspace`, else of the folder whose current conversation the original is,
   * else of the active folder. Rejects with `InvalidParams` for a conversation without events, and with
   * `EventNotFound` if it has no event `at`.
   */
  fork(sessionId: string, options?: ForkOptions): Promise<Opened>;

  /**
   * Give a conversation a title, one line of 1 to 200 characters, which stays whatever is appended; null: the
   * automatic one again.
   */
  setTitle(sessionId: string, title: string | null): Promise<Session>;

  /** Fires when events that this window has appended are on disk. */
  readonly onDidAppend: VscodeEvent<AppendedEvents>;

  /** Fires when the current conversation of a folder changes: another one, none, or new data of the same one. */
  readonly onDidChangeSession: VscodeEvent<SessionChange>;
}

/** What to open. */
export interface OpenOptions {
  /** A folder, as a URI or a path. Default: the active editor's workspace folder, else the first one. */
  workspace?: Uri | string;
  /** Open this session, whatever its age, even if it is archived. */
  sessionId?: string;
  /** `auto` (default): resume a session, or start a new one. `resume`: resume one, or reject. `new`: never resume. */
  mode?: "auto" | "new" | "resume";
  /** The maximum age in minutes of a session that is resumed. Default: the setting `segue.continueMinutes`. */
  continueMinutes?: number;
  /** How many of the newest events to return: 0 to 1,000, default 200. */
  tail?: number;
}

/** Who answers: each one line of up to 200 characters. If one of them is given, both are kept with the conversation. */
export interface AppendOptions {
  /** The agent or adapter, as users know it. */
  agent?: string | null;
  /** Its model. */
  model?: string | null;
}

/** What to fork. */
export interface ForkOptions {
  /** The id of the last event that the fork has. Default: all that are stored. */
  at?: string;
  /** As in `setTitle`. Default: `copy of …`, or the title of the original if that is archived. */
  title?: string;
  /** Archive the original: the fork takes its place. Both happen, or none. */
  archiveOriginal?: boolean;
  /** Where the fork happens. Default: where the original did. */
  workspace?: Uri | string;
  /** The id of the fork. If a conversation has it already, that one is opened: a retry makes no second fork. */
  newSessionId?: string;
  /** How many of the newest events to return: 0 to 1,000, default 200. */
  tail?: number;
}

/** Which events to read. */
export interface Page {
  /** Only events with a higher seq. */
  after?: number;
  /** Only events with a lower seq. */
  before?: number;
  /** 1 to 1,000, default 200. */
  limit?: number;
}

/** Which conversations to list. */
export interface ListOptions {
  /** Only conversations of this folder and its repository's worktrees. Default: all. */
  workspace?: Uri | string;
  /** Include archived conversations. */
  archived?: boolean;
  /** The `nextCursor` of the previous page. */
  cursor?: string;
  limit?: number;
}

/** A conversation. Times are ISO 8601 in UTC. */
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
  /** The session that this one is a fork of, unless that was deleted. */
  forkedFrom: string | null;
  /** Of a fork: the seq of the last event that both have. */
  forkedAt: number | null;
  /** The program that the conversation was imported from; null if Segue recorded it. */
  source: string | null;
  /** The client that appended last. */
  client: string | null;
  /** The agent or adapter that answered last, and its model, if the client has told. */
  agent: string | null;
  model: string | null;
  /** The time of its last event `user_message`; of a fork: of its own. */
  lastPromptAt: string | null;
  /** The git branch where it was last continued, if it is known. */
  branch: string | null;
  /** The repository's name, alike on all machines: `github.com/org/repo`. */
  repository: string | null;
  /** The machine that it was had on, and where its folders are; null if it is this one. */
  machine: string | null;
  /** The user who shares it to be read: who appends to it goes on in a fork; null if it is one's own. */
  sharedBy: string | null;
}

/** A stored event. `corrupt`: the stored data is not valid JSON, and `data` is that text. */
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

/** An event to append. */
export interface NewEvent {
  id?: string | null;
  type: string;
  data: { [key: string]: unknown };
}

/** The position of an event in its session. */
export interface EventPosition {
  id: string;
  seq: number;
}

/** A note for the model that a new invocation of the editor continues an earlier one. */
export interface Boundary {
  id: string;
  type: string;
  data: { [key: string]: unknown };
}

/** Why a session was opened; the server's PROTOCOL.md explains each. */
export type ReasonCode =
  | "named"
  | "new"
  | "empty"
  | "reset"
  | "forked"
  | "newestInRepository"
  | "newestInDirectory"
  | "newestOnOtherMachine"
  | "nothingFits"
  | "neverByItself";

/** An opened conversation with its newest events. */
export interface Opened {
  session: Session;
  invocationId: string;
  resumed: boolean;
  /** Why this session was chosen, as a sentence to show to users. */
  reason: string;
  /** The same for programs. Later servers may add codes. */
  reasonCode: ReasonCode;
  /** Send it to the model after `events`. The server stores it together with the first append. */
  boundary: Boundary | null;
  events: Event[];
  hasMore: boolean;
  lastEventAt: string | null;
  alternatives: Session[];
  /** If nothing of this machine fits: a checkout that was moved here, maybe. */
  moved: MovedCheckout | null;
}

/** A checkout of this repository whose folder is gone, and the newest conversation that was had there. */
export interface MovedCheckout {
  oldRoot: string;
  newRoot: string;
  session: Session;
}

/** The result of an append. */
export interface Appended {
  /**
   * The session that holds the events. It differs from the one that was given if another window has appended to that
   * one first: then it is a fork. So it does if that one had no stored events and its server exited: then it is a new
   * session. Later events belong there; under the old id they are stored there too.
   */
  sessionId: string;
  head: string | null;
  eventCount: number;
  events: EventPosition[];
  duplicates: number;
}

/** An opening of a session, with the client that made it, as far as it told. */
export interface Invocation {
  id: string;
  clientName: string | null;
  clientVersion: string | null;
}

/** A page of events, oldest first. */
export interface EventPage {
  events: Event[];
  hasMore: boolean;
  /** Those of `events`. */
  invocations: Invocation[];
}

/** A page of conversations, newest first. */
export interface SessionPage {
  sessions: Session[];
  nextCursor: string | null;
  /** The ids of those that are open in some window, as far as that can be known. */
  open: string[];
}

/** Events that were appended, with the result. */
export interface AppendedEvents extends Appended {
  appended: readonly NewEvent[];
}

/** The current conversation of a folder. */
export interface SessionChange {
  /** The URI of the folder. */
  folder: string;
  session: Session | undefined;
}

/** A request was refused. `kind` is one of the error kinds in server/PROTOCOL.md, or one that `append` documents. */
export interface SegueError extends Error {
  readonly kind: string;
  readonly data: { [key: string]: unknown };
}
