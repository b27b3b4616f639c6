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
import { Outbox } from "./outbox";
import type { Server } from "./server";

/** The conversation that is open in a folder and continues with the next question. */
export interface CurrentConversation {
  session: Session;
  invocationId: string;
  /** The time of its last event if it was resumed and nothing was appended since; else undefined. */
  lastActiveBeforeResume: string | undefined;
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

  readonly onDidAppend = this.appended.event;
  readonly onDidChangeSession = this.changed.event;
  /** Fires when a list of conversations may be outdated. */
  readonly onDidChangeList = this.listChanged.event;

  constructor(private readonly server: Server) {
    this.outbox = new Outbox({
      request: server.request,
      waitForRestart: (generation) => server.waitForRestart(generation),
      onAppended: (result, events) => this.handleAppended(result, events),
      onReplaced: (sessionId, opened) => this.setCurrent(this.findFolder(sessionId) ?? getActiveFolder(), opened),
    });
    server.onDidStart(() => this.outbox.handleServerRestart());
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

  async reset(sessionId: string): Promise<Opened> {
    const folder = this.findFolder(sessionId) ?? getActiveFolder();
    const opened = await this.server.request("session/reset", { sessionId });
    this.setCurrent(folder, opened);
    return opened;
  }

  /** Start a new conversation in a folder and archive the current one. Returns whether there was one. */
  async startNew(folder: string): Promise<boolean> {
    const current = this.getCurrent(folder);
    if (current === undefined) {
      await this.open({ workspace: folder, mode: "new" });
    } else {
      await this.reset(current.session.sessionId);
    }
    return current !== undefined;
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
    await this.server.request("session/delete", { sessionId });
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

  /** Release the event emitters. */
  dispose(): void {
    this.appended.dispose();
    this.changed.dispose();
    this.listChanged.dispose();
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
    this.changed.fire({ folder, session: current.session });
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
