// The part of a conversation that a transcript shows: the newest events or those around one of them, and on demand more.

import type { Page } from "../segue";
import type { Event, EventsResult, Invocation } from "./protocol";

/** Events of a page. */
export const PAGE_SIZE = 100;
/** Only so many are kept while a conversation grows. */
const MAX_GROWN = 2_000;
const KEPT_OF_GROWN = 1_000;

/** Events without gaps, oldest first, that can be extended at both ends. */
export class LoadedEvents {
  events: Event[] = [];
  /** Who has written them, by the id of the invocation. */
  readonly invocations = new Map<string, Invocation>();
  /** The conversation has events before these, or after them. */
  hasOlder = false;
  hasNewer = false;

  /** *load* reads a page of the conversation. */
  constructor(private readonly load: (page: Page) => Promise<EventsResult>) {}

  /** The seq of the last one. */
  get lastSeq(): number {
    return this.events.at(-1)?.seq ?? 0;
  }

  /** Whether an event is loaded. */
  has(eventId: string): boolean {
    return this.events.some(({ id }) => id === eventId);
  }

  /** Load the newest ones. */
  async loadNewest(): Promise<void> {
    const page = await this.load({ limit: PAGE_SIZE });
    this.replace(page, page.hasMore, false);
  }

  /** Load those around a seq, if that one is not loaded. */
  async loadAround(seq: number): Promise<void> {
    const first = this.events[0]?.seq ?? Number.POSITIVE_INFINITY;
    if (first <= seq && seq <= this.lastSeq) {
      return;
    }
    const after = Math.max(0, seq - Math.floor(PAGE_SIZE / 2));
    const page = await this.load({ after, limit: PAGE_SIZE });
    this.replace(page, after > 0, page.hasMore);
  }

  /** Load a page before the first one. */
  async loadOlder(): Promise<void> {
    const [first] = this.events;
    if (first !== undefined && this.hasOlder) {
      const page = await this.load({ before: first.seq, limit: PAGE_SIZE });
      if (this.events[0] === first) {
        this.events = [...page.events, ...this.events];
        this.hasOlder = page.hasMore;
        this.addInvocations(page.invocations);
      }
    }
  }

  /** Load a page after the last one. */
  async loadNewer(): Promise<void> {
    const { lastSeq } = this;
    const page = await this.load({ after: lastSeq, limit: PAGE_SIZE });
    if (this.lastSeq === lastSeq) {
      this.events = [...this.events, ...page.events];
      this.hasNewer = page.hasMore;
      this.addInvocations(page.invocations);
    }
  }

  /** Add events that were appended to the conversation. What is between them and the last one is loaded. */
  async add(appended: readonly Event[], invocations: readonly Invocation[]): Promise<void> {
    const [first] = appended;
    if (first === undefined || this.hasNewer) {
      return;
    }
    while (this.lastSeq < first.seq - 1) {
      const { lastSeq } = this;
      await this.loadNewer();
      if (this.lastSeq === lastSeq) {
        return; // deleted meanwhile
      }
    }
    this.events = [...this.events, ...appended.filter(({ seq }) => seq > this.lastSeq)];
    this.hasNewer = false;
    this.addInvocations(invocations);
    if (this.events.length > MAX_GROWN) {
      this.events = this.events.slice(-KEPT_OF_GROWN);
      this.hasOlder = true;
    }
  }

  private replace(page: EventsResult, hasOlder: boolean, hasNewer: boolean): void {
    this.events = page.events;
    this.hasOlder = hasOlder;
    this.hasNewer = hasNewer;
    this.addInvocations(page.invocations);
  }

  private addInvocations(invocations: readonly Invocation[]): void {
    for (const invocation of invocations) {
      this.invocations.set(invocation.id, invocation);
    }
  }
}
