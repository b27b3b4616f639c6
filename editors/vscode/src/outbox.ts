// Queues appends until the server acknowledges them, and resends them after the server was restarted.

import { v7 as createId } from "uuid";
import type { Appended } from "../segue";
import type { AppendResult, NewEvent, OpenResult } from "./protocol";
import { ConnectionLostError, isKind, type Request } from "./requests";

/** An event with its id. The id makes retries idempotent: the server stores the event once. */
export type EventWithId = NewEvent & { id: string };

interface Batch {
  events: EventWithId[];
  resolve: (appended: Appended) => void;
  reject: (error: unknown) => void;
}

/** A session that this window has opened, with its queue of batches. The first batch is in flight. */
interface OpenSession {
  sessionId: string;
  /** The directory of the session; empty for a session that was never opened through this outbox. */
  workspace: string;
  head: string | null;
  /** Whether the store has events of it. If so, `SessionNotFound` means that it was deleted. */
  isStored: boolean;
  /** Whether the current server process has it open. */
  isOpenInServer: boolean;
  batches: Batch[];
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
}

/**
 * Appends events to sessions. Each event is stored exactly once and in the order of the calls, even if the server
 * is killed and restarted in between.
 */
export class Outbox {
  /** By every id that a session has had: a session that was replaced is found by its old and its new id. */
  private readonly sessions = new Map<string, OpenSession>();

  private readonly sending = new Set<Promise<void>>();

  constructor(private readonly options: OutboxOptions) {}

  /** Take over the state of a session that the server has just opened. The next append follows its head. */
  registerOpened(opened: { sessionId: string; directory: string; head: string | null }): void {
    const session = this.sessions.get(opened.sessionId);
    if (session === undefined) {
      this.sessions.set(opened.sessionId, {
        sessionId: opened.sessionId,
        workspace: opened.directory,
        head: opened.head,
        isStored: opened.head !== null,
        isOpenInServer: true,
        batches: [],
      });
    } else if (session.batches.length === 0) {
      Object.assign(session, { head: opened.head, isStored: opened.head !== null, isOpenInServer: true });
    }
  }

  /**
   * Append *events*, all or none. Resolves when they are on disk. Rejects with a `RefusedError` if the server
   * refuses them; later appends are sent nevertheless. An event without an id is given one.
   */
  append(sessionId: string, events: readonly NewEvent[]): Promise<Appended> {
    const session = this.sessions.get(sessionId) ?? this.addUnopened(sessionId);
    const withIds = events.map((event) => ({ ...event, id: event.id ?? createId() }));
    return new Promise((resolve, reject) => {
      session.batches.push({ events: withIds, resolve, reject });
      if (session.batches.length === 1) {
        const sending = this.sendBatches(session).finally(() => this.sending.delete(sending));
        this.sending.add(sending);
      }
    });
  }

  /** Resolves when every append so far is acknowledged or refused. Never rejects. */
  async drain(): Promise<void> {
    await Promise.all([...this.sending]);
  }

  /** Mark every session as not open in the server. Call it when a new server process was started. */
  handleServerRestart(): void {
    for (const session of this.sessions.values()) {
      session.isOpenInServer = false;
    }
  }

  private addUnopened(sessionId: string): OpenSession {
    const session = { sessionId, workspace: "", head: null, isStored: true, isOpenInServer: false, batches: [] };
    this.sessions.set(sessionId, session);
    return session;
  }

  private async sendBatches(session: OpenSession): Promise<void> {
    for (let batch = session.batches[0]; batch !== undefined; batch = session.batches[0]) {
      try {
        const appended = await this.sendUntilAcknowledged(session, batch.events);
        session.batches.shift();
        batch.resolve(appended);
        this.options.onAppended(appended, batch.events);
      } catch (error) {
        session.batches.shift();
        batch.reject(error);
      }
    }
  }

  private async sendUntilAcknowledged(session: OpenSession, events: EventWithId[]): Promise<Appended> {
    for (;;) {
      const wasOpen = session.isOpenInServer;
      try {
        if (!wasOpen) {
          await this.reopen(session);
        }
        return this.acknowledge(session, await this.send(session, events));
      } catch (error) {
        if (error instanceof ConnectionLostError) {
          session.isOpenInServer = false;
          await this.options.waitForRestart(error.generation);
        } else if (isKind(error, "SessionNotOpen") && wasOpen) {
          // The server was restarted before the request was sent: reopen the session there.
          session.isOpenInServer = false;
        } else {
          throw error;
        }
      }
    }
  }

  private send(session: OpenSession, events: EventWithId[]): Promise<AppendResult> {
    const { sessionId, head: parentId } = session;
    return this.options.request("session/append", { sessionId, parentId, events });
  }

  private acknowledge(session: OpenSession, result: AppendResult): Appended {
    session.head = result.head;
    session.isStored = true;
    return { ...result, sessionId: session.sessionId };
  }

  private async reopen(session: OpenSession): Promise<void> {
    const opened = await this.openOrReplace(session);
    const { sessionId, directory, head: storedHead } = opened.session;
    const oldId = session.sessionId;
    // Keep the head that this window has seen: if another window moved it, the append must fail with HeadMoved.
    const head = sessionId === oldId && session.workspace !== "" ? session.head : storedHead;
    Object.assign(session, { sessionId, workspace: directory, head, isOpenInServer: true });
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
      if (session.isStored || !isKind(error, "SessionNotFound")) {
        throw error;
      }
      return this.options.request("session/open", { workspace, mode: "new", tail: 0 });
    }
  }
}
