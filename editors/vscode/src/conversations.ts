// The API of the extension, and the current conversation of each workspace folder of this window.

import { homedir } from "node:os";
import * as vscode from "vscode";
import type {
  Appended,
  AppendedEvents,
  EventPage,
  ListOptions,
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
import { isKind } from "./requests";
import type { Server } from "./server";

/** The conversation that is open in a folder and continues with the next question. */
export interface CurrentConversation {
  session: Session;
  invocationId: string;
  /** The time of its last event if it was resumed and nothing was appended since; else undefined. */
  lastActiveBeforeResume: string | undefined;
}

/** A change of what is not stored yet. */
export interface UnsentChange {
  unsent: Unsent;
  /** The error of an attempt that will be repeated; undefined when the store has answered again. */
  trouble: Error | undefined;
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
  private readonly appended = new vscode.EventEmitter<AppendedEvents>();
  private readonly changed = new vscode.EventEmitter<SessionChange>();
  private readonly listChanged = new vscode.EventEmitter<void>();
  private readonly unsentChanged = new vscode.EventEmitter<UnsentChange>();
  private readonly deletedElsewhere = new vscode.EventEmitter<DeletedElsewhere>();

  readonly onDidAppend = this.appended.event;
  readonly onDidChangeSession = this.changed.event;
  /** Fires when a list of conversations may be outdated. */
  readonly onDidChangeList = this.listChanged.event;
  /** Fires while attempts to store events fail that will be repeated, and when the store has answered again. */
  readonly onDidChangeUnsent = this.unsentChanged.event;
  /** Fires once for each conversation that turns out to be deleted elsewhere. */
  readonly onDidFindDeleted = this.deletedElsewhere.event;

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
    return opened;
  }

  append(sessionId: string, events: readonly NewEvent[]): Promise<Appended> {
    return this.outbox.append(sessionId, events);
  }

  events(sessionId: string, page: Page = {}): Promise<EventPage> {
    return this.server.request("session/events", { sessionId, ...page });
  }

  list({ workspace, ...options }: ListOptions = {}): Promise<SessionPage> {
    return this.server.request("session/list", {
      ...options,
      ...(workspace === undefined ? {} : { cwd: resolveFolder(workspace) }),
    });
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

  /** Let the next append follow what other windows have appended. Does not make the session the current one. */
  async adoptHead(sessionId: string): Promise<void> {
    const { session } = await this.server.request("session/open", { sessionId, tail: 0 });
    this.outbox.registerOpened(session);
  }

  async reset(sessionId: string): Promise<Opened> {
    const folder = this.findFolder(sessionId) ?? getActiveFolder();
    const opened = await this.outbox.reset(sessionId);
    this.setCurrent(folder, opened);
    return opened;
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
  }

  /** Undo `archive`: list the conversation again, and allow it to be resumed automatically. */
  async unarchive(sessionId: string): Promise<void> {
    await this.server.request("session/unarchive", { sessionId });
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
    for (const emitter of [this.appended, this.changed, this.listChanged, this.unsentChanged, this.deletedElsewhere]) {
      emitter.dispose();
    }
  }

  private createOutboxOptions(): OutboxOptions {
    return {
      request: this.server.request,
      waitForRestart: (generation) => this.server.waitForRestart(generation),
      onAppended: (result, events) => this.handleAppended(result, events),
      onReplaced: (sessionId, opened) => this.handleReplaced(sessionId, opened),
      onDeleted: (sessionId, dropped) => this.handleDeleted(sessionId, dropped),
      onUnsentChanged: (unsent, trouble) => this.unsentChanged.fire({ unsent, trouble }),
    };
  }

  private handleReplaced(sessionId: string, opened: Opened): void {
    // A late answer of a session that is not current any more must not bring it back in front.
    const folder = this.findFolder(sessionId);
    if (folder !== undefined) {
      this.setCurrent(folder, opened);
    }
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

/** The URIs of all workspace folders of this window; without any, only the active folder. */
export function getFolders(): string[] {
  const workspaceFolders = vscode.workspace.workspaceFolders ?? [];
  return workspaceFolders.length > 0 ? workspaceFolders.map(({ uri }) => uri.toString()) : [getActiveFolder()];
}
