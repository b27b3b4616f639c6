// Keeps events until the server has answered for them, as server/PROTOCOL.md asks of every client: "Coming back after
// the server is gone" and "When something cannot be stored".

import { v7 as createId } from "uuid";
import type { Appended, AppendOptions } from "../segue";
import type { AppendResult, NewEvent, OpenResult } from "./protocol";
import { ConnectionLostError, isKind, isNotNow, RefusedError, type Request } from "./requests";
import { type EventWithId, type Snapshot, takeSnapshot } from "./snapshot";

const MAX_KEPT_BYTES = 128 * 1024 * 1024;
const MAX_KEPT_EVENTS = 100_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

interface Batch extends Snapshot {
  resolve: (appended: Appended) => void;
  reject: (error: unknown) => void;
}

/** A session that this window has opened, with its queue of batches. The first batch is in flight. */
interface OpenSession {
  sessionId: string;
  /** The directory of the session; empty for a session that was never opened through this outbox. */
  workspace: string;
  /** The last event that this window knows. */
  head: string | null;
  /** The seq of that event. */
  headSeq: number;
  /** Whether the store has events of it. If so, `SessionNotFound` means that it was deleted. */
  isStored: boolean;
  /** Whether this window knows that it was deleted. */
  isDeleted: boolean;
  /** Whether the current server process has it open. */
  isOpenInServer: boolean;
  /** The id of the fork that will take its place, because this one cannot be appended to here; undefined while it can. */
  forkId: string | undefined;
  batches: Batch[];
}

/** What is not stored yet. */
export interface Unsent {
  /** How many events. */
  events: number;
  /** Why the last attempt failed, as a sentence; undefined while none has failed. */
  reason: string | undefined;
}

/** What an outbox needs from its owner. */
export interface OutboxOptions {
  request: Request;
  /** Resolves when a server of a later generation than this one accepts requests. */
  waitForRestart: (generation: number) => Promise<void>;
  /** Called after each acknowledged append. */
  onAppended: (appended: Appended, events: readonly EventWithId[]) => void;
  /** Called when a session without stored events was lost with its server and a new one replaces it. */
  onReplaced: (sessionId: string, opened: OpenResult) => void;
  /** Called when another window appended to a session first, or it is another user's: its queue goes to the opened fork. */
  onForked: (sessionId: string, opened: OpenResult) => void;
  /** Called once when a session turns out to be deleted elsewhere: *dropped* events of it are not stored. */
  onDeleted?: (sessionId: string, dropped: number) => void;
  /**
   * Called when an attempt has failed that will be repeated, with its error; when more is kept meanwhile; and without
   * an error when the store has answered again.
   */
  onUnsentChanged?: (unsent: Unsent, trouble: Error | undefined) => void;
}

/**
 * Appends events to sessions. Each event is stored exactly once and in the order of the calls, even if the server
 * is killed and restarted in between. What can never be stored is refused to its caller, and nothing waits for it.
 * If another window appends to a session first, or it is another user's, this one goes on in a fork.
 */
export class Outbox {
  /** By every id that a session has had: one that was replaced or forked is found by its old and its new id. */
  private readonly sessions = new Map<string, OpenSession>();
  private readonly sending = new Set<Promise<void>>();
  private readonly kept = { events: 0, size: 0 };
  /** Why the last attempt failed; undefined once the store has answered. */
  private trouble: Error | undefined;
  /** The ends of the pauses that are under way. */
  private readonly pauses = new Set<() => void>();

  constructor(private readonly options: OutboxOptions) {}

  /** What is not stored yet. */
  get unsent(): Unsent {
    return { events: this.kept.events, reason: this.trouble?.message };
  }

  /** Whether a session was opened here, or appended to. */
  has(sessionId: string): boolean {
    return this.sessions.has(sessionId);
  }

  /** Take over the state of a session that the server has just opened. The next append follows its head. */
  registerOpened(opened: { sessionId: string; directory: string; head: string | null; eventCount: number }): void {
    const { sessionId, directory: workspace, head, eventCount: headSeq } = opened;
    const session = this.sessions.get(sessionId);
    const state = { head, headSeq, isStored: head !== null, isOpenInServer: true };
    if (session?.sessionId !== sessionId) {
      // Not known yet, or its fork took its place here, and now it is wanted itself.
      this.sessions.set(sessionId, { sessionId, workspace, isDeleted: false, forkId: undefined, batches: [], ...state });
    } else if (session.batches.length === 0) {
      Object.assign(session, state);
    } else {
      session.isStored ||= state.isStored;
    }
  }

  /**
   * Append *events*, all or none. Resolves when they are on disk. Rejects with a `RefusedError` if they cannot be
   * stored; later appends are sent nevertheless. While the server or its store is away, they are kept and sent again.
   */
  async append(sessionId: string, events: readonly NewEvent[], options: AppendOptions = {}): Promise<Appended> {
    const snapshot = takeSnapshot(events, options);
    this.reserve(snapshot);
    const session = this.sessions.get(sessionId) ?? this.addUnopened(sessionId);
    return new Promise((resolve, reject) => {
      session.batches.push({ ...snapshot, resolve, reject });
      if (session.batches.length === 1) {
        const sending = this.sendBatches(session).finally(() => this.sending.delete(sending));
        this.sending.add(sending);
      }
    });
  }

  /**
   * Archive a session and open a new one in its place. What waits for the old one is stored there nevertheless.
   * Rejects with a `ConnectionLostError` if no server can be started.
   */
  async reset(sessionId: string): Promise<OpenResult> {
    const session = this.sessions.get(sessionId) ?? this.addUnopened(sessionId);
    for (let isRetry = false; ; isRetry = true) {
      try {
        if (!session.isOpenInServer) {
          await this.reopen(session);
        }
        const opened = await this.options.request("session/reset", { sessionId: session.sessionId });
        this.registerOpened(opened.session);
        return opened;
      } catch (error) {
        // The server was restarted meanwhile. A reset that took effect unseen is repeated: the new session is empty.
        const isRestarted = isKind(error, "SessionNotOpen") || (error instanceof ConnectionLostError && error.generation > 0);
        session.isOpenInServer = false;
        if (isRetry || !isRestarted) {
          throw error;
        }
      }
    }
  }

  /** Delete a session. What waits for it is dropped. */
  async delete(sessionId: string): Promise<void> {
    const session = this.sessions.get(sessionId);
    await this.options.request("session/delete", { sessionId });
    if (session?.sessionId === sessionId) {
      session.isDeleted = true;
    }
  }

  /** Resolves when every append so far is acknowledged or refused. Never rejects. */
  async drain(): Promise<void> {
    this.retryNow();
    await Promise.all([...this.sending]);
  }

  /** Send what is unsent now, without waiting for the end of a pause. */
  retryNow(): void {
    for (const end of [...this.pauses]) {
      end();
    }
  }

  /** Mark every session as not open in the server. Call it when a new server process was started. */
  handleServerRestart(): void {
    for (const session of this.sessions.values()) {
      session.isOpenInServer = false;
    }
    this.retryNow();
  }

  private addUnopened(sessionId: string): OpenSession {
    const session: OpenSession = {
      sessionId, workspace: "", head: null, headSeq: 0, isStored: true, isDeleted: false, isOpenInServer: false,
      forkId: undefined, batches: [],
    };
    this.sessions.set(sessionId, session);
    return session;
  }

  /** Count what a call wants to have kept. Throws a `RefusedError` if that is too much. */
  private reserve({ events, size }: Snapshot): void {
    const { kept } = this;
    if (kept.events > 0 && (kept.size + size > MAX_KEPT_BYTES || kept.events + events.length > MAX_KEPT_EVENTS)) {
      const limit = `${MAX_KEPT_BYTES / 1024 / 1024} MiB or ${MAX_KEPT_EVENTS.toLocaleString("en")} events`;
      const message = `More than ${limit} would wait to be stored. Nothing of this call is stored. ${this.trouble?.message ?? ""}`;
      throw new RefusedError(message.trimEnd(), "OutboxFull", {});
    }
    kept.events += events.length;
    kept.size += size;
    if (this.trouble !== undefined) {
      this.options.onUnsentChanged?.(this.unsent, this.trouble);
    }
  }

  private release({ events, size }: Snapshot): void {
    this.kept.events -= events.length;
    this.kept.size -= size;
  }

  private async sendBatches(session: OpenSession): Promise<void> {
    for (let batch = session.batches[0]; batch !== undefined; batch = session.batches[0]) {
      await this.sendBatch(session, batch);
    }
  }

  private async sendBatch(session: OpenSession, batch: Batch): Promise<void> {
    let appended: Appended;
    try {
      appended = await this.sendUntilAnswered(session, batch);
    } catch (error) {
      this.finish(session, batch);
      batch.reject(error);
      if (isKind(error, "SessionNotFound")) {
        this.dropDeleted(session, batch, error);
      }
      return;
    }
    this.finish(session, batch);
    batch.resolve(appended);
    this.options.onAppended(appended, batch.events);
  }

  private finish(session: OpenSession, batch: Batch): void {
    session.batches.shift();
    this.release(batch);
    if (this.trouble !== undefined) {
      this.setTrouble(undefined); // the store has answered
    }
  }

  /** Reject everything that waits for a session that was deleted. */
  private dropDeleted(session: OpenSession, first: Batch, error: Error): void {
    const dropped = [first, ...session.batches.splice(0)];
    for (const batch of dropped.slice(1)) {
      this.release(batch);
      batch.reject(error);
    }
    if (!session.isDeleted) {
      session.isDeleted = true;
      this.options.onDeleted?.(session.sessionId, dropped.reduce((sum, { events }) => sum + events.length, 0));
    }
  }

  private async sendUntilAnswered(session: OpenSession, batch: Batch): Promise<Appended> {
    for (let failures = 0; ; ) {
      const wasOpen = session.isOpenInServer;
      try {
        if (session.forkId !== undefined) {
          await this.continueInFork(session, session.forkId);
        } else if (!wasOpen) {
          await this.reopen(session);
        }
        return this.acknowledge(session, await this.send(session, batch));
      } catch (error) {
        if (isNotNow(error)) {
          await this.pause(session, error, failures);
          failures += 1;
        } else if (isKind(error, "SessionNotOpen") && wasOpen) {
          // The server was restarted before the request was sent, or the session was reset: reopen it there.
          session.isOpenInServer = false;
        } else if (isKind(error, "HeadMoved") || isKind(error, "SessionReadOnly")) {
          session.forkId = createId();
        } else {
          throw error;
        }
      }
    }
  }

  /** Wait until another attempt is due: when a new server was started, else after a pause that grows. */
  private async pause(session: OpenSession, error: Error, failures: number): Promise<void> {
    const duration = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
    let end!: () => void;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const timer = setTimeout(end, duration).unref();
    this.pauses.add(end);
    if (error instanceof ConnectionLostError) {
      session.isOpenInServer = false;
      if (error.generation > 0) {
        void this.options.waitForRestart(error.generation).then(end);
      }
    }
    this.setTrouble(error);
    await ended;
    clearTimeout(timer);
    this.pauses.delete(end);
  }

  private setTrouble(trouble: Error | undefined): void {
    this.trouble = trouble;
    this.options.onUnsentChanged?.(this.unsent, trouble);
  }

  private send(session: OpenSession, { events, options }: Batch): Promise<AppendResult> {
    const { sessionId, head: parentId } = session;
    return this.options.request("session/append", { sessionId, parentId, events, ...options });
  }

  private acknowledge(session: OpenSession, result: AppendResult): Appended {
    // The head of the result may be an unseen event of another window, if all of these were stored before.
    for (const { id, seq } of result.events) {
      if (seq > session.headSeq) {
        session.head = id;
        session.headSeq = seq;
      }
    }
    session.isStored = true;
    return { ...result, sessionId: session.sessionId };
  }

  /** Go on in the fork *forkId*. Until the server has answered, every attempt names the same one. */
  private async continueInFork(session: OpenSession, forkId: string): Promise<void> {
    const oldId = session.sessionId;
    const opened = await this.fork(session, forkId);
    const { sessionId, directory, head, eventCount } = opened.session;
    const state = { sessionId, workspace: directory, head, headSeq: eventCount, isOpenInServer: true, forkId: undefined };
    Object.assign(session, state);
    this.sessions.set(sessionId, session);
    this.options.onForked(oldId, opened);
  }

  private async fork({ sessionId, head: at }: OpenSession, newSessionId: string): Promise<OpenResult> {
    try {
      return await this.options.request("session/fork", { sessionId, at, newSessionId, tail: 0 });
    } catch (error) {
      if (!isKind(error, "EventNotFound")) {
        throw error;
      }
      // The store was put back to an older state: go on after what it has.
      return this.options.request("session/fork", { sessionId, newSessionId, tail: 0 });
    }
  }

  private async reopen(session: OpenSession): Promise<void> {
    const opened = await this.openOrReplace(session);
    const { sessionId, directory, head, eventCount: headSeq } = opened.session;
    const oldId = session.sessionId;
    // Keep the head that this window has seen: if another window moved it, the append must fail with HeadMoved.
    const isSeen = sessionId === oldId && session.workspace !== "";
    Object.assign(session, { sessionId, workspace: directory, isOpenInServer: true, ...(isSeen ? {} : { head, headSeq }) });
    if (sessionId !== oldId) {
      this.sessions.set(sessionId, session);
      this.options.onReplaced(oldId, opened);
    }
  }

  private async openOrReplace(session: OpenSession): Promise<OpenResult> {
    const { sessionId, workspace } = session;
    try {
      return await this.options.request("session/open", { sessionId, tail: 0 });
    } catch (error) {
      if (session.isStored || session.isDeleted || !isKind(error, "SessionNotFound")) {
        throw error;
      }
      return this.options.request("session/open", { workspace, mode: "new", tail: 0 });
    }
  }
}
