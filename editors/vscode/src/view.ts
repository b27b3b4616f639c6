// The view "Conversations": this workspace's sessions, newest first.

import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import { folders } from "./conversations";
import type { Session } from "./protocol";
import { age, count, plain, plainMarkdown, shortAge, title } from "./words";

const PAGE = 100;
/** Characters of a title, so that the age and the count beside it are seen in a side bar of usual width. */
const WIDTH = 26;

interface FolderNode {
  kind: "folder";
  folder: string;
}

/** A conversation in the list: what a command of its menu is given. */
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

export class ConversationsView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly view: vscode.TreeView<Node>;
  private readonly listeners: vscode.Disposable[];
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly limits = new Map<string, number>();
  private isArchivedShown = false;
  private pending: NodeJS.Timeout | undefined;

  readonly onDidChangeTreeData = this.changed.event;

  constructor(private readonly conversations: Conversations) {
    this.view = vscode.window.createTreeView("segue.conversations", { treeDataProvider: this });
    const refresh = () => this.refreshSoon();
    this.listeners = [
      conversations.onDidTouch(refresh),
      conversations.onDidChangeSession(refresh),
      vscode.workspace.onDidChangeWorkspaceFolders(refresh),
      vscode.window.onDidChangeWindowState(({ focused }) => focused && this.refreshSoon()),
      this.view.onDidChangeVisibility(refresh),
      new vscode.Disposable(clearInterval.bind(undefined, setInterval(refresh, 60_000))),
    ];
  }

  get isVisible(): boolean {
    return this.view.visible;
  }

  get onDidChangeVisibility(): vscode.Event<unknown> {
    return this.view.onDidChangeVisibility;
  }

  /** Read the list again, a moment from now: what is asked for meanwhile is one reading. */
  refreshSoon(): void {
    if (this.view.visible) {
      this.pending ??= setTimeout(() => {
        this.pending = undefined;
        this.changed.fire();
      }, 150);
    }
  }

  refresh(): void {
    this.changed.fire();
  }

  showArchived(shown: boolean): void {
    this.isArchivedShown = shown;
    void vscode.commands.executeCommand("setContext", "segue.archivedShown", shown);
    this.refresh();
  }

  loadMore(folder: string): void {
    this.limits.set(folder, this.limitOf(folder) + PAGE);
    this.refresh();
  }

  async getChildren(node?: Node): Promise<Node[]> {
    if (node?.kind === "folder") {
      return this.sessions(node.folder);
    }
    const [first, ...others] = folders();
    if (first === undefined || others.length > 0) {
      return folders().map((folder) => ({ kind: "folder", folder }));
    }
    return this.sessions(first);
  }

  getTreeItem(node: Node): vscode.TreeItem {
    switch (node.kind) {
      case "folder":
        return this.folderItem(node);
      case "session":
        return this.sessionItem(node);
      case "more": {
        const item = new vscode.TreeItem("Load more…");
        item.command = { command: "segue.loadMore", title: "Load More", arguments: [node.folder] };
        return item;
      }
    }
  }

  dispose(): void {
    clearTimeout(this.pending);
    for (const each of [...this.listeners, this.view, this.changed]) {
      each.dispose();
    }
  }

  private async sessions(folder: string): Promise<Node[]> {
    const limit = this.limitOf(folder);
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

  private limitOf(folder: string): number {
    return this.limits.get(folder) ?? PAGE;
  }

  private folderItem({ folder }: FolderNode): vscode.TreeItem {
    const item = new vscode.TreeItem(vscode.Uri.parse(folder), vscode.TreeItemCollapsibleState.Expanded);
    item.id = folder;
    item.iconPath = vscode.ThemeIcon.Folder;
    return item;
  }

  private sessionItem({ folder, session }: SessionNode): vscode.TreeItem {
    const isCurrent = this.conversations.current(folder)?.session.sessionId === session.sessionId;
    const isArchived = session.archivedAt !== null;
    const item = new vscode.TreeItem(title(session, WIDTH));
    item.id = `${folder} ${session.sessionId}`;
    item.description = `${shortAge(session.updatedAt)} · ${session.eventCount.toLocaleString("en")}`;
    item.tooltip = tooltip(session, isCurrent);
    item.contextValue = isArchived ? "session.archived" : "session";
    item.iconPath = iconOf(isCurrent, isArchived);
    item.accessibilityInformation = {
      label: `${title(session)}, ${age(session.updatedAt)}, ${count(session.eventCount, "event")}`,
    };
    const node: SessionNode = { kind: "session", folder, session };
    item.command = { command: "segue.showTranscript", title: "Show Transcript", arguments: [node] };
    return item;
  }
}

function iconOf(isCurrent: boolean, isArchived: boolean): vscode.ThemeIcon {
  return isCurrent
    ? new vscode.ThemeIcon("comment-discussion", new vscode.ThemeColor("charts.green"))
    : new vscode.ThemeIcon(isArchived ? "archive" : "comment");
}

function tooltip(session: Session, isCurrent: boolean): vscode.MarkdownString {
  const lines = [
    `**${plainMarkdown(title(session))}**`,
    `${count(session.eventCount, "event")}, last active ${age(session.updatedAt)}`,
    plainMarkdown(plain(session.directory)),
    ...(isCurrent ? ["The current conversation of this folder."] : []),
    ...(session.archivedAt === null ? [] : [`Archived ${age(session.archivedAt)}.`]),
  ];
  return new vscode.MarkdownString(lines.join("\n\n"));
}
