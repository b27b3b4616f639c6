// The API of the extension, and the current conversation of each workspace folder of this window.

import { homedir } from "node:os";
import { v7 as createId } from "uuid";
import * as vscode from "vscode";
import type {
  Appended,
  AppendedEvents,
  AppendOptions,
  Event,
  EventPage,
  ForkOptions,
  ListOptions,
  MovedCheckout,
  NewEvent,
  Opened,
  OpenOptions,
  Page,
  SegueApi,
  Session,
  SessionChange,
  SessionPage,
} from "../segue";
import { type OutboxOptions, Outbox, type Unsent } from "./outbox";
import type { ForkParams } from "./protocol";
import { isKind } from "./requests";
import type { Server } from "./server";

/** Older events are not loaded once this many are; the last page that was read may exceed it. */
const MAX_EVENTS = 2_000;
const PAGE_SIZE = 1_000;

/** The conversation that is open in a folder and continues with the next question. */
export interface CurrentConversation {
  session: Session;
  invocationId: string;
  /** The time of its last event if it was resumed and nothing was appended since; else undefined. */
  lastActiveBeforeResume: string | undefined;
}

/** A session, and the folder in which it is looked at. */
export interface InFolder {
  folder: string;
  session: Session;
}

/** A conversation that went back to an earlier turn. */
export interface GoneBack {
  folder: string;
  /** The id of the archived original. */
  original: string;
  /** The fork that took its place. */
  fork: Session;
}

/** A change of what is not stored yet. */
export interface UnsentChange {
  unsent: Unsent;
  /** The error of an attempt that will be repeated; undefined when the store has answered again. */
  trouble: Error | undefined;
}

/** A conversation that goes on in a fork here: another window wrote first, or it is the user's who shares it. */
export interface Parted {
  fork: Session;
  sharedBy: string | null;
}

/** A conversation that was deleted elsewhere while events of it waited to be stored. */
export interface DeletedElsewhere {
  title: string | null;
  dropped: number;
}

/** Opens, reads, lists and changes conversations through the server. `SegueApi` documents the public methods. */
export class Conversations implements SegueApi, vscode.Disposable {
  readonly apiVersion = 1;
  /** By the URI of the folder. */
  private readonly currents = new Map<string, CurrentConversation>();
  private readonly outbox: Outbox;
  private lastGoneBack: GoneBack | undefined;
  private readonly appended = new vscode.EventEmitter<AppendedEvents>();
  private readonly changed = new vscode.EventEmitter<SessionChange>();
  private readonly listChanged = new vscode.EventEmitter<void>();
  private readonly unsentChanged = new vscode.EventEmitter<UnsentChange>();
  private readonly deletedElsewhere = new vscode.EventEmitter<DeletedElsewhere>();
  private readonly parted = new vscode.EventEmitter<Parted>();
  private readonly foundMoved = new vscode.EventEmitter<MovedCheckout>();
  /** Asked about in this window: the old and the new roots. */
  private readonly asked = new Set<string>();
  private readonly renamed = new vscode.EventEmitter<Session>();
  private readonly archiveChanged = new vscode.EventEmitter<string>();

  readonly onDidAppend = this.appended.event;
  readonly onDidChangeSession = this.changed.event;
  /** Fires when a list of conversations may be outdated. */
  readonly onDidChangeList = this.listChanged.event;
  /** Fires while attempts to store events fail that will be repeated, and when the store has answered again. */
  readonly onDidChangeUnsent = this.unsentChanged.event;
  /** Fires once for each conversation that turns out to be deleted elsewhere. */
  readonly onDidFindDeleted = this.deletedElsewhere.event;
  /** Fires with the fork in which this window goes on because another one appended to the conversation first. */
  readonly onDidPart = this.parted.event;
  /** Fires once in this window for a checkout that was moved here, maybe. */
  readonly onDidFindMoved = this.foundMoved.event;
  /** Fires with a conversation that was given another title. */
  readonly onDidRename = this.renamed.event;
  /** Fires with the id of a conversation that was archived or unarchived. */
  readonly onDidChangeArchived = this.archiveChanged.event;

  constructor(private readonly server: Server) {
    this.outbox = new Outbox(this.createOutboxOptions());
    server.onDidStart(() => this.outbox.handleServerRestart());
  }

  /** What is not stored yet, and why. */
  get unsent(): Unsent {
    return this.outbox.unsent;
  }

  async open(options: OpenOptions = {}): Promise<Opened> {
    const folder = resolveFolder(options.workspace);
    const minutes = vscode.workspace.getConfiguration("segue").get<number | null>("continueMinutes", null);
    const opened = await this.server.request("session/open", {
      continueMinutes: minutes,
      ...options,
      workspace: folder,
    });
    this.setCurrent(folder, opened);
    this.handleMoved(opened.moved);
    return opened;
  }

  /** Take the conversations of a moved checkout along, or note that it was not moved. Returns how many they are. */
  async relocate({ oldRoot, newRoot }: MovedCheckout, declined = false): Promise<number> {
    const { moved } = await this.server.request("session/relocate", { oldRoot, newRoot, declined });
    this.listChanged.fire();
    return moved;
  }

  append(sessionId: string, events: readonly NewEvent[], options: AppendOptions = {}): Promise<Appended> {
    return this.outbox.append(sessionId, events, options);
  }

  events(sessionId: string, page: Page = {}): Promise<EventPage> {
    return this.server.request("session/events", { sessionId, ...page });
  }

  /** The newest events of a conversation, oldest first; somewhat more than 2,000 at most. */
  async loadNewest(sessionId: string): Promise<Event[]> {
    let page = await this.events(sessionId, { limit: PAGE_SIZE });
    let events = page.events;
    while (page.hasMore && events.length < MAX_EVENTS && events[0] !== undefined) {
      page = await this.events(sessionId, { before: events[0].seq, limit: PAGE_SIZE });
      events = [...page.events, ...events];
    }
    return events;
  }

  list({ workspace, ...options }: ListOptions = {}): Promise<SessionPage> {
    return this.server.request("session/list", {
      ...options,
      ...(workspace === undefined ? {} : { cwd: resolveFolder(workspace) }),
    });
  }

  /** The session that *session* is a fork of, if it is among the newest of the folder, or archived ones of it. */
  async findOriginal({ folder, session }: InFolder): Promise<Session | undefined> {
    if (session.forkedFrom === null) {
      return undefined;
    }
    const { sessions } = await this.list({ workspace: folder, archived: true, limit: 1_000 });
    return sessions.find(({ sessionId }) => sessionId === session.forkedFrom);
  }

  /**
   * A session as its folder lists it, else as it was; and whether another window has it open that this one does not have,
   * as far as that can be known.
   */
  async lookUp({ folder, session }: InFolder): Promise<{ session: Session; isOpenElsewhere: boolean }> {
    const { sessionId } = session;
    let found: Session | undefined;
    let isOpen = false;
    let cursor: string | null = null;
    do {
      const page: SessionPage = await this.list({ workspace: folder, archived: true, limit: 1_000, ...(cursor === null ? {} : { cursor }) });
      isOpen ||= page.open.includes(sessionId);
      found = page.sessions.find((each) => each.sessionId === sessionId);
      cursor = page.nextCursor;
    } while (found === undefined && cursor !== null);
    return { session: found ?? session, isOpenElsewhere: isOpen && !this.outbox.has(sessionId) };
  }

  /**
   * Wait for an append. Resolves with undefined, without waiting any longer, as soon as an attempt to store events has
   * failed that will be repeated: they are kept then, in their order.
   */
  async untilStoredOrKept<T>(appending: Promise<T>): Promise<T | undefined> {
    const listeners: vscode.Disposable[] = [];
    const kept = new Promise<undefined>((resolve) => {
      listeners.push(this.onDidChangeUnsent(({ unsent }) => unsent.reason !== undefined && resolve(undefined)));
      if (this.unsent.reason !== undefined) {
        resolve(undefined);
      }
    });
    return Promise.race([appending, kept]).finally(() => listeners.forEach((each) => each.dispose()));
  }

  async reset(sessionId: string): Promise<Opened> {
    const folder = this.findFolder(sessionId) ?? getActiveFolder();
    const opened = await this.outbox.reset(sessionId);
    this.setCurrent(folder, opened);
    return opened;
  }

  fork(sessionId: string, { workspace, ...options }: ForkOptions = {}): Promise<Opened> {
    const given = workspace === undefined ? undefined : resolveFolder(workspace);
    const folder = given ?? this.findFolder(sessionId) ?? getActiveFolder();
    return this.forkInto(folder, sessionId, { ...options, ...(given === undefined ? {} : { workspace: given }) });
  }

  /** `fork`, and make the fork the current conversation of *folder*, wherever it happens. */
  async forkInto(
    folder: string,
    sessionId: string,
    options: Omit<ForkParams, "sessionId">,
  ): Promise<Opened> {
    const opened = await this.server.request("session/fork", {
      ...options,
      sessionId,
      newSessionId: options.newSessionId ?? createId(),
    });
    this.setCurrent(folder, { ...opened, resumed: false });
    if (options.archiveOriginal === true) {
      this.clearCurrent(sessionId); // of another folder
    }
    return opened;
  }

  /** Go on in *folder* in a fork that ends with the event *at* and takes the place of the original. */
  async goBack(folder: string, sessionId: string, at: string | null): Promise<GoneBack> {
    const { session: fork } = await this.forkInto(folder, sessionId, { at, archiveOriginal: true });
    const goneBack = { folder, original: sessionId, fork };
    this.setUndoable(goneBack);
    return goneBack;
  }

  /** Undo `goBack`, by default the last one: go on in the original, and archive the fork. */
  async undoGoBack(goneBack = this.lastGoneBack): Promise<void> {
    if (goneBack === undefined) {
      return;
    }
    const { folder, original, fork: { sessionId: fork } } = goneBack;
    await this.unarchive(original);
    if (this.getCurrent(folder)?.session.sessionId === fork) {
      await this.open({ workspace: folder, sessionId: original });
    }
    await this.archive(fork);
    if (this.lastGoneBack?.fork.sessionId === fork) {
      this.setUndoable(undefined);
    }
  }

  async setTitle(sessionId: string, title: string | null): Promise<Session> {
    const { session } = await this.server.request("session/setTitle", { sessionId, title });
    const folder = this.findFolder(sessionId);
    const current = this.findCurrent(sessionId);
    if (folder !== undefined && current !== undefined) {
      current.session = { ...current.session, title: session.title };
      this.changed.fire({ folder, session: current.session });
    }
    this.renamed.fire(session);
    this.listChanged.fire();
    return session;
  }

  /** Open the current conversation of a folder; if there is none, or it was deleted, the one that fits. */
  async openCurrent(folder: string): Promise<Opened> {
    const current = this.getCurrent(folder)?.session.sessionId;
    if (current !== undefined) {
      try {
        return await this.open({ workspace: folder, sessionId: current });
      } catch (error) {
        if (!isKind(error, "SessionNotFound")) {
          throw error;
        }
        this.clearCurrent(current);
      }
    }
    return this.open({ workspace: folder });
  }

  /** Start a new conversation in a folder and archive the current one. Returns whether there was one. */
  async startNew(folder: string): Promise<boolean> {
    const current = this.getCurrent(folder);
    try {
      if (current !== undefined) {
        await this.reset(current.session.sessionId);
        return true;
      }
    } catch (error) {
      if (!isKind(error, "SessionNotFound")) {
        throw error; // else it was deleted elsewhere: there is nothing to archive
      }
    }
    await this.open({ workspace: folder, mode: "new" });
    return false;
  }

  async archive(sessionId: string): Promise<void> {
    await this.server.request("session/archive", { sessionId });
    this.clearCurrent(sessionId);
    this.archiveChanged.fire(sessionId);
  }

  /** Undo `archive`: list the conversation again, and allow it to be resumed automatically. */
  async unarchive(sessionId: string): Promise<void> {
    await this.server.request("session/unarchive", { sessionId });
    this.archiveChanged.fire(sessionId);
    this.listChanged.fire();
  }

  /** Delete a conversation and its events permanently. */
  async delete(sessionId: string): Promise<void> {
    await this.outbox.delete(sessionId);
    this.clearCurrent(sessionId);
  }

  /** The current conversation of a folder in this window, if one is open. */
  getCurrent(folder = getActiveFolder()): CurrentConversation | undefined {
    return this.currents.get(folder);
  }

  /** Resolves when every append so far is on disk or refused. Never rejects. */
  drain(): Promise<void> {
    return this.outbox.drain();
  }

  /** Send what is not stored yet now, without waiting for the end of a pause. */
  retryNow(): void {
    this.outbox.retryNow();
  }

  /** Release the event emitters. */
  dispose(): void {
    const { appended, changed, listChanged, unsentChanged, deletedElsewhere, parted, foundMoved, renamed, archiveChanged } = this;
    const lists = [appended, changed, listChanged, unsentChanged, deletedElsewhere, parted, foundMoved, renamed, archiveChanged];
    for (const emitter of lists) {
      emitter.dispose();
    }
  }

  private createOutboxOptions(): OutboxOptions {
    return {
      request: this.server.request,
      waitForRestart: (generation) => this.server.waitForRestart(generation),
      onAppended: (result, events) => this.handleAppended(result, events),
      onReplaced: (sessionId, opened) => this.handleReplaced(sessionId, opened),
      onForked: (sessionId, opened) => this.handleForked(sessionId, opened),
      onDeleted: (sessionId, dropped) => this.handleDeleted(sessionId, dropped),
      onUnsentChanged: (unsent, trouble) => this.unsentChanged.fire({ unsent, trouble }),
    };
  }

  private handleMoved(moved: MovedCheckout | null): void {
    const roots = moved ? JSON.stringify([moved.oldRoot, moved.newRoot]) : undefined;
    if (moved && roots !== undefined && !this.asked.has(roots)) {
      this.asked.add(roots);
      this.foundMoved.fire(moved);
    }
  }

  private handleReplaced(sessionId: string, opened: Opened): void {
    // A late answer of a session that is not current any more must not bring it back in front.
    const folder = this.findFolder(sessionId);
    if (folder !== undefined) {
      this.setCurrent(folder, opened);
    }
  }

  private handleForked(sessionId: string, opened: Opened): void {
    const sharedBy = this.findCurrent(sessionId)?.session.sharedBy ?? null;
    this.handleReplaced(sessionId, { ...opened, resumed: false });
    this.parted.fire({ fork: opened.session, sharedBy });
    this.listChanged.fire();
  }

  private handleDeleted(sessionId: string, dropped: number): void {
    const title = this.findCurrent(sessionId)?.session.title ?? null;
    this.clearCurrent(sessionId);
    this.deletedElsewhere.fire({ title, dropped });
  }

  private setCurrent(folder: string, { session, invocationId, resumed, lastEventAt }: Opened): void {
    this.outbox.registerOpened(session);
    const previous = this.currents.get(folder);
    const isSame = previous?.invocationId === invocationId;
    const lastActive = resumed ? (lastEventAt ?? undefined) : undefined;
    const lastActiveBeforeResume = isSame ? previous.lastActiveBeforeResume : lastActive;
    this.currents.set(folder, { session, invocationId, lastActiveBeforeResume });
    this.changed.fire({ folder, session });
    if (!isSame) {
      this.listChanged.fire();
    }
  }

  private clearCurrent(sessionId: string): void {
    const folder = this.findFolder(sessionId);
    if (folder !== undefined) {
      this.currents.delete(folder);
      this.changed.fire({ folder, session: undefined });
    }
    this.listChanged.fire();
  }

  private handleAppended(result: Appended, appended: readonly NewEvent[]): void {
    const folder = this.findFolder(result.sessionId);
    if (folder !== undefined) {
      void this.updateCurrent(folder, result);
    }
    this.appended.fire({ ...result, appended });
    this.listChanged.fire();
  }

  private async updateCurrent(folder: string, { sessionId, head, eventCount }: Appended): Promise<void> {
    const current = this.currents.get(folder);
    if (current === undefined) {
      return;
    }
    current.lastActiveBeforeResume = undefined;
    current.session = { ...current.session, head, eventCount, updatedAt: new Date().toISOString() };
    if (current.session.title === null) {
      // The store derives the title. Opening a session that is already open changes nothing and returns it.
      const opened = await this.server.request("session/open", { sessionId, tail: 0 }).catch(() => undefined);
      current.session = opened?.session ?? current.session;
    }
    if (this.currents.get(folder) === current) {
      this.changed.fire({ folder, session: current.session });
    }
  }

  private setUndoable(goneBack: GoneBack | undefined): void {
    this.lastGoneBack = goneBack;
    void vscode.commands.executeCommand("setContext", "segue.canUndoGoBack", goneBack !== undefined);
  }

  private findCurrent(sessionId: string): CurrentConversation | undefined {
    const folder = this.findFolder(sessionId);
    return folder === undefined ? undefined : this.currents.get(folder);
  }

  private findFolder(sessionId: string): string | undefined {
    return [...this.currents].find(([, current]) => current.session.sessionId === sessionId)?.[0];
  }
}

/** The URI of *folder*, which may be a URI or a path; without one, the URI of the active folder. */
export function resolveFolder(folder: vscode.Uri | string | undefined): string {
  if (folder === undefined) {
    return getActiveFolder();
  }
  if (typeof folder !== "string") {
    return folder.toString();
  }
  return folder.includes("://") ? folder : vscode.Uri.file(folder).toString();
}

/** The URI of the active editor's workspace folder, else the first workspace folder, else the home directory. */
export function getActiveFolder(): string {
  const document = vscode.window.activeTextEditor?.document.uri;
  const folder = document === undefined ? undefined : vscode.workspace.getWorkspaceFolder(document);
  const uri = folder?.uri ?? vscode.workspace.workspaceFolders?.[0]?.uri ?? vscode.Uri.file(homedir());
  return uri.toString();
}

/** Whether this window has a workspace folder. */
export function isFolderOpen(): boolean {
  return (vscode.workspace.workspaceFolders ?? []).length > 0;
}

/** The URIs of all workspace folders of this window; without any, only the active folder. */
export function getFolders(): string[] {
  const workspaceFolders = vscode.workspace.workspaceFolders ?? [];
  return workspaceFolders.length > 0 ? workspaceFolders.map(({ uri }) => uri.toString()) : [getActiveFolder()];
}
