// A search that follows what is typed: one model for everything in which a user can search.

import type { SearchHit, SearchResult } from "./protocol";
import { isKind, type Request } from "./requests";

/** A search begins when nothing was typed for this long. */
export const SEARCH_DELAY_MS = 150;
const PAGE_SIZE = 30;
const MAX_LIMIT = 200;

/** Where to search. */
export interface SearchScope {
  /** The URIs of folders, which are searched one after the other; none: everywhere. */
  folders: readonly string[];
  /** Whether to search archived conversations too. */
  archived: boolean;
}

/** Something that was found. */
export interface Hit extends SearchHit {
  /** The folder in which it was searched for; undefined: everywhere. */
  folder: string | undefined;
}

/** What a search has found so far. */
export interface SearchState {
  /** What the hits were searched for; it follows what is typed. */
  query: string;
  hits: readonly Hit[];
  /** A search is running, or about to begin. */
  isBusy: boolean;
  /** There may be more hits than these. */
  hasMore: boolean;
  /** The last page ended because its time was up. */
  isOutOfTime: boolean;
  /** Why there is no answer, as a sentence. */
  problem: string | undefined;
}

const EMPTY: SearchState = { query: "", hits: [], isBusy: false, hasMore: false, isOutOfTime: false, problem: undefined };

/** One query in one scope, and how far it was searched. */
interface Run {
  query: string;
  scope: SearchScope;
  /** The index of the folder that is being searched, and the place in it. */
  folder: number;
  cursor: string | null;
  /** What was found already: folders can have conversations in common. */
  seen: Set<string>;
}

/** Searches for what is typed, page by page. Answers to what was typed before are dropped. */
export class Search {
  private current: SearchState = EMPTY;
  private typed = "";
  private timer: NodeJS.Timeout | undefined;
  private run: Run | undefined;
  /** The run that the hits are of. */
  private answered: Run | undefined;

  /** `onChange` is called with every change of the state. */
  constructor(
    private readonly request: Request,
    private scope: SearchScope,
    private readonly onChange: () => void,
  ) {}

  /** What was found so far. */
  get state(): SearchState {
    return this.current;
  }

  /** What is to be searched for, without the space around it. */
  get query(): string {
    return this.typed;
  }

  /** Whether the hits belong to what was typed last, and to the present scope. */
  get isCurrent(): boolean {
    return this.run !== undefined && this.run === this.answered;
  }

  /** Search for *text* when nothing else was typed for a moment. An empty one ends the search at once. */
  type(text: string): void {
    const query = text.trim();
    if (query === this.typed) {
      return;
    }
    this.typed = query;
    this.restart(query === "" ? 0 : SEARCH_DELAY_MS);
  }

  /** Search elsewhere, at once. */
  setScope(scope: SearchScope): void {
    this.scope = scope;
    this.restart(0);
  }

  /** Search again: what is stored may have changed. The hits stay until there are new ones. */
  repeat(): void {
    this.restart(this.typed === "" ? 0 : SEARCH_DELAY_MS, this.current.hits.length);
  }

  /** Do not wait any longer, and search for what was typed. */
  flush(): void {
    if (this.timer !== undefined) {
      this.restart(0);
    }
  }

  /** Search on behind the last hit, or again if that failed. */
  async loadMore(): Promise<void> {
    if (this.run !== undefined && this.isCurrent && !this.current.isBusy) {
      await this.load(this.run, this.current.hits, PAGE_SIZE);
    }
  }

  /** Forget what was typed. No call of `onChange` follows. */
  dispose(): void {
    clearTimeout(this.timer);
    this.run = undefined;
  }

  private restart(delay: number, wanted = 0): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.run = undefined; // answers to it are late now
    if (this.typed === "") {
      if (this.current !== EMPTY) {
        this.update(EMPTY);
      }
      return;
    }
    const begin = () => {
      this.timer = undefined;
      this.run = { query: this.typed, scope: this.scope, folder: 0, cursor: null, seen: new Set() };
      void this.load(this.run, [], Math.max(PAGE_SIZE, wanted));
    };
    if (delay === 0) {
      begin();
    } else {
      this.timer = setTimeout(begin, delay);
      this.update({ ...this.current, isBusy: true });
    }
  }

  private async load(run: Run, before: readonly Hit[], wanted: number): Promise<void> {
    this.update({ ...this.current, isBusy: true });
    const hits = [...before];
    const mustGoOn = (isComplete: boolean) => hits.length < (isComplete ? before.length + wanted : before.length + 1);
    const state = { ...EMPTY, query: run.query };
    try {
      let isLast: boolean;
      let complete: boolean;
      do {
        const missing = before.length + wanted - hits.length;
        const page: SearchResult = await this.request("session/search", {
          query: run.query,
          cwd: run.scope.folders[run.folder] ?? null,
          archived: run.scope.archived,
          cursor: run.cursor,
          limit: Math.min(missing, MAX_LIMIT),
        });
        if (run !== this.run) {
          return;
        }
        hits.push(...takeNew(run, page));
        complete = page.complete;
        isLast = advance(run, page);
      } while (!isLast && mustGoOn(complete)); // one whose time was up, and that found nothing, goes on by itself
      this.answered = run;
      this.update({ ...state, hits, hasMore: !isLast, isOutOfTime: !complete });
    } catch (error) {
      if (run === this.run) {
        this.answered = run;
        const isRefused = isKind(error, "InvalidParams");
        this.update({ ...state, hits: isRefused ? [] : hits, hasMore: !isRefused, problem: describeProblem(error) });
      }
    }
  }

  private update(state: SearchState): void {
    this.current = state;
    this.onChange();
  }
}

function takeNew(run: Run, page: SearchResult): Hit[] {
  const folder = run.scope.folders[run.folder];
  return page.hits.flatMap((hit) => {
    const key = `${hit.session.sessionId} ${hit.event?.id ?? ""}`;
    return run.seen.has(key) ? [] : (run.seen.add(key), [{ ...hit, folder }]);
  });
}

/** Go on behind a page; returns whether it was the last one. */
function advance(run: Run, { nextCursor }: SearchResult): boolean {
  run.cursor = nextCursor;
  if (nextCursor !== null) {
    return false;
  }
  run.folder += 1;
  return run.folder >= run.scope.folders.length;
}

function describeProblem(error: unknown): string {
  if (isKind(error, "InvalidParams")) {
    const [first] = (error.data["errors"] ?? []) as { path?: string; message?: string }[];
    return first?.path === "$.query" ? `What you search for ${first.message ?? "is not valid"}.` : error.message;
  }
  return `The search failed: ${error instanceof Error ? error.message : String(error)}`;
}
