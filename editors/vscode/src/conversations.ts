// The conversations of this window: the current one of each folder, and all that can be done with one.

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

/** The conversation that a folder goes on with. */
export interface Current {
  session: Session;
  invocationId: string;
  /** When it was last active, if it was resumed and nothing has been added since. */
  continuedAfter: string | undefined;
}

export class Conversations implements SegueApi, vscode.Disposable {
  readonly apiVersion = 1;
  private readonly currents = new Map<string, Current>();
  private readonly outbox: Outbox;
  private readonly appended = new vscode.EventEmitter<AppendedEvents>();
  private readonly changed = new vscode.EventEmitter<SessionChange>();
  private readonly touched = new vscode.EventEmitter<void>();

  readonly onDidAppend = this.appended.event;
  readonly onDidChangeSession = this.changed.event;
  /** Something that a list of conversations shows may be another now. */
  readonly onDidTouch = this.touched.event;

  constructor(private readonly server: Server) {
    this.outbox = new Outbox({
      request: server.request,
      whenBack: (run) => server.whenBack(run),
      onAppended: (result, events) => this.afterAppend(result, events),
      onReplaced: (sessionId, opened) => this.take(this.folderWith(sessionId) ?? activeFolder(), opened),
    });
    server.onDidStart(() => this.outbox.serverChanged());
  }

  async open(options: OpenOptions = {}): Promise<Opened> {
    const folder = folderOf(options.workspace);
    const minutes = vscode.workspace.getConfiguration("segue").get<number | null>("continueMinutes", null);
    const opened = await this.server.request("session/open", {
      continueMinutes: minutes,
      ...options,
      workspace: folder,
    });
    this.take(folder, opened);
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
      ...(workspace === undefined ? {} : { cwd: folderOf(workspace) }),
    });
  }

  async reset(sessionId: string): Promise<Opened> {
    const folder = this.folderWith(sessionId) ?? activeFolder();
    const opened = await this.server.request("session/reset", { sessionId });
    this.take(folder, opened);
    return opened;
  }

  /** Begin a new conversation in a folder, the current one archived; tell whether there was one. */
  async begin(folder: string): Promise<boolean> {
    const current = this.current(folder);
    if (current === undefined) {
      await this.open({ workspace: folder, mode: "new" });
    } else {
      await this.reset(current.session.sessionId);
    }
    return current !== undefined;
  }

  async archive(sessionId: string): Promise<void> {
    await this.server.request("session/archive", { sessionId });
    this.forget(sessionId);
  }

  async unarchive(sessionId: string): Promise<void> {
    await this.server.request("session/unarchive", { sessionId });
    this.touched.fire();
  }

  /** Remove a conversation for good. */
  async delete(sessionId: string): Promise<void> {
    await this.server.request("session/delete", { sessionId });
    this.forget(sessionId);
  }

  /** The conversation that a folder goes on with here, if one is open. */
  current(folder = activeFolder()): Current | undefined {
    return this.currents.get(folder);
  }

  /** Resolves when all that was appended is on disk or refused. */
  settled(): Promise<void> {
    return this.outbox.settled();
  }

  dispose(): void {
    this.appended.dispose();
    this.changed.dispose();
    this.touched.dispose();
  }

  private take(folder: string, { session, invocationId, resumed, lastEventAt }: Opened): void {
    this.outbox.opened(session);
    const before = this.currents.get(folder);
    const isSame = before?.invocationId === invocationId;
    const continuedAfter = isSame ? before.continuedAfter : resumed ? (lastEventAt ?? undefined) : undefined;
    this.currents.set(folder, { session, invocationId, continuedAfter });
    this.changed.fire({ folder, session });
    if (!isSame) {
      this.touched.fire();
    }
  }

  private forget(sessionId: string): void {
    const folder = this.folderWith(sessionId);
    if (folder !== undefined) {
      this.currents.delete(folder);
      this.changed.fire({ folder, session: undefined });
    }
    this.touched.fire();
  }

  private afterAppend(result: Appended, appended: readonly NewEvent[]): void {
    const folder = this.folderWith(result.sessionId);
    if (folder !== undefined) {
      void this.grow(folder, result);
    }
    this.appended.fire({ ...result, appended });
    this.touched.fire();
  }

  private async grow(folder: string, { sessionId, head, eventCount }: Appended): Promise<void> {
    const current = this.currents.get(folder);
    if (current === undefined) {
      return;
    }
    current.continuedAfter = undefined;
    current.session = { ...current.session, head, eventCount, updatedAt: new Date().toISOString() };
    if (current.session.title === null) {
      // The store makes the title; opening what is open here changes nothing, and tells.
      const opened = await this.server.request("session/open", { sessionId, tail: 0 }).catch(() => undefined);
      current.session = opened?.session ?? current.session;
    }
    this.changed.fire({ folder, session: current.session });
  }

  private folderWith(sessionId: string): string | undefined {
    return [...this.currents].find(([, current]) => current.session.sessionId === sessionId)?.[0];
  }
}

/** The URI of the folder that is meant: the one given, the active editor's, the first, else the home. */
export function folderOf(given: vscode.Uri | string | undefined): string {
  if (given === undefined) {
    return activeFolder();
  }
  if (typeof given !== "string") {
    return given.toString();
  }
  return given.includes("://") ? given : vscode.Uri.file(given).toString();
}

/** The URI of the folder that the person works in. */
export function activeFolder(): string {
  const document = vscode.window.activeTextEditor?.document.uri;
  const folder = document === undefined ? undefined : vscode.workspace.getWorkspaceFolder(document);
  const uri = folder?.uri ?? vscode.workspace.workspaceFolders?.[0]?.uri ?? vscode.Uri.file(homedir());
  return uri.toString();
}

/** The URIs of all folders of this window; without any, the home's. */
export function folders(): string[] {
  const open = vscode.workspace.workspaceFolders ?? [];
  return open.length > 0 ? open.map((folder) => folder.uri.toString()) : [activeFolder()];
}
