// What was said and is not acknowledged yet: kept, sent in order, and sent again after the server was away.

import { v7 as newId } from "uuid";
import type { Appended } from "../segue";
import { type AppendResult, isKind, LostError, type NewEvent, type OpenResult, type Request } from "./protocol";

/** An event whose id is settled: it is the same event however often it is sent. */
export type SettledEvent = NewEvent & { id: string };

interface Batch {
  events: SettledEvent[];
  resolve: (appended: Appended) => void;
  reject: (error: unknown) => void;
}

/** One open session as this window knows it. */
interface Chain {
  sessionId: string;
  workspace: string;
  head: string | null;
  /** Something of it is stored: if the server does not find it any more, it was deleted. */
  isStored: boolean;
  isOpen: boolean;
  batches: Batch[];
}

export interface OutboxOptions {
  request: Request;
  /** Resolves when a later run of the server than this one can be asked. */
  whenBack: (run: number) => Promise<void>;
  onAppended: (appended: Appended, events: readonly SettledEvent[]) => void;
  /** A session that nothing was stored of was lost with the server, and began anew as another one. */
  onReplaced: (sessionId: string, opened: OpenResult) => void;
}

/** Appends to sessions so that nothing is lost, doubled or reordered, whatever happens to the server. */
export class Outbox {
  /** By every id that a chain has had: one that was never stored begins anew under another. */
  private readonly chains = new Map<string, Chain>();

  private readonly working = new Set<Promise<void>>();

  constructor(private readonly options: OutboxOptions) {}

  /** Know a session as the server just opened it; what is appended next follows its head. */
  opened(session: { sessionId: string; directory: string; head: string | null }): void {
    const known = this.chains.get(session.sessionId);
    if (known === undefined) {
      this.chains.set(session.sessionId, {
        sessionId: session.sessionId,
        workspace: session.directory,
        head: session.head,
        isStored: session.head !== null,
        isOpen: true,
        batches: [],
      });
    } else if (known.batches.length === 0) {
      Object.assign(known, { head: session.head, isStored: session.head !== null, isOpen: true });
    }
  }

  /** Resolves when *events* are on disk, and rejects if they are refused. */
  append(sessionId: string, events: readonly NewEvent[]): Promise<Appended> {
    const chain = this.chains.get(sessionId) ?? this.unopened(sessionId);
    const settled = events.map((event) => ({ ...event, id: event.id ?? newId() }));
    return new Promise((resolve, reject) => {
      chain.batches.push({ events: settled, resolve, reject });
      if (chain.batches.length === 1) {
        const work = this.work(chain).finally(() => this.working.delete(work));
        this.working.add(work);
      }
    });
  }

  /** Resolves when nothing waits for an answer any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.working]);
  }

  /** The server is another one now: nothing is open in it. */
  serverChanged(): void {
    for (const chain of this.chains.values()) {
      chain.isOpen = false;
    }
  }

  private unopened(sessionId: string): Chain {
    const chain = { sessionId, workspace: "", head: null, isStored: true, isOpen: false, batches: [] };
    this.chains.set(sessionId, chain);
    return chain;
  }

  private async work(chain: Chain): Promise<void> {
    for (let batch = chain.batches[0]; batch !== undefined; batch = chain.batches[0]) {
      try {
        const appended = await this.delivered(chain, batch.events);
        chain.batches.shift();
        batch.resolve(appended);
        this.options.onAppended(appended, batch.events);
      } catch (error) {
        chain.batches.shift();
        batch.reject(error);
      }
    }
  }

  private async delivered(chain: Chain, events: SettledEvent[]): Promise<Appended> {
    for (;;) {
      const wasOpen = chain.isOpen;
      try {
        if (!wasOpen) {
          await this.reopen(chain);
        }
        return this.acknowledged(chain, await this.send(chain, events));
      } catch (error) {
        if (error instanceof LostError) {
          chain.isOpen = false;
          await this.options.whenBack(error.run);
        } else if (isKind(error, "SessionNotOpen") && wasOpen) {
          // It was sent to another server than the one that it is open in.
          chain.isOpen = false;
        } else {
          throw error;
        }
      }
    }
  }

  private send(chain: Chain, events: SettledEvent[]): Promise<AppendResult> {
    const { sessionId, head: parentId } = chain;
    return this.options.request("session/append", { sessionId, parentId, events });
  }

  private acknowledged(chain: Chain, result: AppendResult): Appended {
    chain.head = result.head;
    chain.isStored = true;
    return { ...result, sessionId: chain.sessionId };
  }

  private async reopen(chain: Chain): Promise<void> {
    const opened = await this.openAgain(chain);
    const { sessionId, directory, head } = opened.session;
    const before = chain.sessionId;
    // Of a session that is known here, the head that was seen counts: another window may have moved it.
    const seen = sessionId === before && chain.workspace !== "" ? chain.head : head;
    Object.assign(chain, { sessionId, workspace: directory, head: seen, isOpen: true });
    if (sessionId !== before) {
      this.chains.set(sessionId, chain);
      this.options.onReplaced(before, opened);
    }
  }

  private async openAgain(chain: Chain): Promise<OpenResult> {
    const { sessionId, workspace } = chain;
    try {
      return await this.options.request("session/open", { sessionId, tail: 0 });
    } catch (error) {
      if (chain.isStored || !isKind(error, "SessionNotFound")) {
        throw error;
      }
      return this.options.request("session/open", { workspace, mode: "new", tail: 0 });
    }
  }
}
