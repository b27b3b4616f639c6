// The view "Conversations": the sessions of this workspace, newest first.

import * as vscode from "vscode";
import { type Conversations, getFolders } from "./conversations";
import { escapeMarkdown, formatAge, formatCount, formatShortAge, formatTitle, singleLine } from "./format";
import type { Session } from "./protocol";

const PAGE_SIZE = 100;
/** Characters of the name of a model or an agent. */
const MAX_NAME_LENGTH = 40;
/** Characters of a title. Leaves space for the age and the event count in a side bar of default width. */
const MAX_TITLE_LENGTH = 26;
const REFRESH_DELAY_MS = 150;

interface FolderNode {
  kind: "folder";
  folder: string;
}

/** A conversation in the tree. The commands of its context menu receive it as their argument. */
export interface SessionNode {
  kind: "session";
  folder: string;
  session: Session;
}

interface MoreNode {
  kind: "more";
  folder: string;
}

type Node = FolderNode | SessionNode | MoreNode;

/** Provides the tree of the view: folders if there are several, the sessions of each, and "Load more…". */
export class ConversationsView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly view: vscode.TreeView<Node>;
  private readonly disposables: vscode.Disposable[];
  private readonly changed = new vscode.EventEmitter<void>();
  /** How many sessions of a folder to show, by the URI of the folder. */
  private readonly limits = new Map<string, number>();
  private isArchivedShown = false;
  private refreshTimer: NodeJS.Timeout | undefined;

  /** Fires when the whole tree must be reloaded. */
  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly conversations: Conversations) {
    this.view = vscode.window.createTreeView("segue.conversations", { treeDataProvider: this });
    const refresh = () => this.scheduleRefresh();
    this.disposables = [
      conversations.onDidChangeList(refresh),
      conversations.onDidChangeSession(refresh),
      vscode.workspace.onDidChangeWorkspaceFolders(refresh),
      vscode.window.onDidChangeWindowState(({ focused }) => focused && this.scheduleRefresh()),
      this.view.onDidChangeVisibility(refresh),
      new vscode.Disposable(clearInterval.bind(undefined, setInterval(refresh, 60_000))),
    ];
  }

  /** Whether the view can be seen. */
  get isVisible(): boolean {
    return this.view.visible;
  }

  /** The conversation that is selected in the tree. */
  get selected(): SessionNode | undefined {
    const [node] = this.view.selection;
    return node?.kind === "session" ? node : undefined;
  }

  /** Fires when the view is shown or hidden. */
  get onDidChangeVisibility(): vscode.Event<unknown> {
    return this.view.onDidChangeVisibility;
  }

  /** Reload the tree after a short delay if it is visible. Calls within the delay are combined. */
  scheduleRefresh(): void {
    if (this.view.visible) {
      this.refreshTimer ??= setTimeout(() => {
        this.refreshTimer = undefined;
        this.changed.fire();
      }, REFRESH_DELAY_MS);
    }
  }

  /** Reload the tree now. */
  refresh(): void {
    this.changed.fire();
  }

  /** Include archived conversations in the tree, or hide them. */
  showArchived(isShown: boolean): void {
    this.isArchivedShown = isShown;
    void vscode.commands.executeCommand("setContext", "segue.archivedShown", isShown);
    this.refresh();
  }

  /** Show another page of a folder's conversations. */
  loadMore(folder: string): void {
    this.limits.set(folder, this.getLimit(folder) + PAGE_SIZE);
    this.refresh();
  }

  /** The nodes below *node*, or the top level. Rejects if the server refuses to list the sessions. */
  async getChildren(node?: Node): Promise<Node[]> {
    if (node?.kind === "folder") {
      return this.loadSessions(node.folder);
    }
    const folders = getFolders();
    const [first, ...others] = folders;
    if (first === undefined || others.length > 0) {
      return folders.map((folder) => ({ kind: "folder", folder }));
    }
    return this.loadSessions(first);
  }

  /** How a node is displayed. */
  getTreeItem(node: Node): vscode.TreeItem {
    switch (node.kind) {
      case "folder":
        return this.createFolderItem(node);
      case "session":
        return this.createSessionItem(node);
      case "more": {
        const item = new vscode.TreeItem("Load more…");
        item.command = { command: "segue.loadMore", title: "Load More", arguments: [node.folder] };
        return item;
      }
    }
  }

  /** Add the tooltip, for which the original of a fork is looked up. */
  async resolveTreeItem(item: vscode.TreeItem, node: Node): Promise<vscode.TreeItem> {
    if (node.kind === "session") {
      const isCurrent = this.isCurrent(node);
      item.tooltip = buildTooltip(node.session, isCurrent, await this.findOriginal(node));
    }
    return item;
  }

  /** Remove the view. */
  dispose(): void {
    clearTimeout(this.refreshTimer);
    for (const disposable of [...this.disposables, this.view, this.changed]) {
      disposable.dispose();
    }
  }

  private async loadSessions(folder: string): Promise<Node[]> {
    const limit = this.getLimit(folder);
    const options = { workspace: folder, archived: this.isArchivedShown };
    let page = await this.conversations.list({ ...options, limit: Math.min(limit, 1_000) });
    const sessions = page.sessions;
    while (page.nextCursor !== null && sessions.length < limit) {
      page = await this.conversations.list({ ...options, cursor: page.nextCursor });
      sessions.push(...page.sessions);
    }
    const nodes: Node[] = sessions.map((session) => ({ kind: "session", folder, session }));
    return page.nextCursor === null ? nodes : [...nodes, { kind: "more", folder }];
  }

  private isCurrent({ folder, session }: SessionNode): boolean {
    return this.conversations.getCurrent(folder)?.session.sessionId === session.sessionId;
  }

  /** The session that *session* is a fork of, if it is among the newest of the folder, or archived ones of it. */
  private async findOriginal({ folder, session }: SessionNode): Promise<Session | undefined> {
    if (session.forkedFrom === null) {
      return undefined;
    }
    const { sessions } = await this.conversations.list({ workspace: folder, archived: true, limit: 1_000 });
    return sessions.find(({ sessionId }) => sessionId === session.forkedFrom);
  }

  private getLimit(folder: string): number {
    return this.limits.get(folder) ?? PAGE_SIZE;
  }

  private createFolderItem({ folder }: FolderNode): vscode.TreeItem {
    const item = new vscode.TreeItem(vscode.Uri.parse(folder), vscode.TreeItemCollapsibleState.Expanded);
    item.id = folder;
    item.iconPath = vscode.ThemeIcon.Folder;
    return item;
  }

  private createSessionItem(node: SessionNode): vscode.TreeItem {
    const { folder, session } = node;
    const item = new vscode.TreeItem(formatTitle(session, MAX_TITLE_LENGTH));
    item.id = `${folder} ${session.sessionId}`;
    const count = session.eventCount.toLocaleString("en");
    const speaker = session.model ?? session.agent;
    const parts = [formatShortAge(session.updatedAt), count, ...(speaker === null ? [] : [formatName(speaker)])];
    item.description = parts.join(" · ");
    item.contextValue = session.archivedAt === null ? "session" : "session.archived";
    item.iconPath = chooseIcon(session, this.isCurrent(node));
    const isFork = session.forkedFrom === null ? "" : ", fork";
    item.accessibilityInformation = {
      label: `${formatTitle(session)}, ${formatAge(session.updatedAt)}, ${formatCount(session.eventCount, "event")}${isFork}`,
    };
    item.command = { command: "segue.showTranscript", title: "Show Transcript", arguments: [node] };
    return item;
  }
}

function chooseIcon({ archivedAt, forkedFrom }: Session, isCurrent: boolean): vscode.ThemeIcon {
  if (archivedAt !== null && !isCurrent) {
    return new vscode.ThemeIcon("archive");
  }
  const color = isCurrent ? new vscode.ThemeColor("charts.green") : undefined;
  return new vscode.ThemeIcon(forkedFrom !== null ? "repo-forked" : isCurrent ? "comment-discussion" : "comment", color);
}

function buildTooltip(session: Session, isCurrent: boolean, original: Session | undefined): vscode.MarkdownString {
  const speakers = [session.agent, session.model, session.client].filter((name) => name !== null);
  const lines = [
    `**${escapeMarkdown(formatTitle(session))}**`,
    `${formatCount(session.eventCount, "event")}, last active ${formatAge(session.updatedAt)}`,
    ...(speakers.length === 0 ? [] : [speakers.map((name) => escapeMarkdown(formatName(name))).join(" · ")]),
    ...(session.forkedFrom === null ? [] : [describeFork(session, original)]),
    escapeMarkdown(singleLine(session.directory)),
    ...(isCurrent ? ["The current conversation of this folder."] : []),
    ...(session.archivedAt === null ? [] : [`Archived ${formatAge(session.archivedAt)}.`]),
  ];
  return new vscode.MarkdownString(lines.join("\n\n"));
}

function describeFork({ forkedAt }: Session, original: Session | undefined): string {
  const name = original === undefined ? "another conversation" : `“${escapeMarkdown(formatTitle(original))}”`;
  return `A fork of ${name}: the first ${formatCount(forkedAt ?? 0, "event")} are the same.`;
}

/** The name of an agent, a model or a client, as a client has told it. */
function formatName(name: string): string {
  return formatTitle({ title: name }, MAX_NAME_LENGTH);
}
