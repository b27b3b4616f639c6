// The view "Conversations": the sessions of this workspace, newest first.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder, getFolders, isFolderOpen } from "./conversations";
import { highlightExcerpt } from "./excerpts";
import {
  escapeMarkdown,
  formatAge,
  formatCount,
  formatPlace,
  formatShortAge,
  formatTitle,
  nameAll,
  nameProgram,
  nameSpeakers,
  singleLine,
} from "./format";
import type { Session } from "./protocol";
import type { Request } from "./requests";
import { type Hit, Search, type SearchScope } from "./search";
import type { Searchable } from "./searchBox";

const PAGE_SIZE = 100;
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
  /** What a search has found in it. */
  hits?: Hit[];
}

interface HitNode {
  kind: "hit";
  folder: string;
  hit: Hit;
}

interface MoreNode {
  kind: "more";
  /** Undefined: of the search. */
  folder: string | undefined;
}

type Node = FolderNode | SessionNode | HitNode | MoreNode;

/**
 * Provides the tree of the view: folders if there are several, the sessions of each, and "Load more…". During a search
 * these are the sessions in which something was found, with what was found.
 */
export class ConversationsView implements vscode.TreeDataProvider<Node>, Searchable, vscode.Disposable {
  private readonly view: vscode.TreeView<Node>;
  private readonly disposables: vscode.Disposable[];
  private readonly changed = new vscode.EventEmitter<void>();
  /** How many sessions of a folder to show, by the URI of the folder. */
  private readonly limits = new Map<string, number>();
  private readonly search: Search;
  private readonly searchChanged = new vscode.EventEmitter<void>();
  private isArchivedShown = false;
  private refreshTimer: NodeJS.Timeout | undefined;

  /** Fires when the whole tree must be reloaded. */
  readonly onDidChangeTreeData = this.changed.event;

  /** Fires when the status of the search changes. */
  readonly onDidChangeSearch = this.searchChanged.event;

  constructor(
    private readonly conversations: Conversations,
    request: Request,
  ) {
    this.search = new Search(request, this.createScope(), () => this.handleSearchChange());
    this.view = vscode.window.createTreeView("segue.conversations", { treeDataProvider: this });
    const refresh = () => this.scheduleRefresh();
    this.disposables = [
      conversations.onDidChangeList(refresh),
      conversations.onDidChangeList(() => this.search.repeat()),
      vscode.workspace.onDidChangeWorkspaceFolders(() => this.search.setScope(this.createScope())),
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

  /** Reload the tree now, and search again. */
  refresh(): void {
    this.changed.fire();
    this.search.repeat();
  }

  /** What is searched for. */
  get searchText(): string {
    return this.search.query;
  }

  /** What came of the search, in a few words. */
  get searchStatus(): string {
    const { query, hits, isBusy, hasMore, isOutOfTime, problem } = this.search.state;
    if (isBusy) {
      return "Searching…";
    }
    if (query === "" || problem !== undefined) {
      return problem ?? "";
    }
    if (hits.length === 0) {
      return hasMore ? "Nothing found yet." : `No conversation${isFolderOpen() ? " of this workspace" : ""} has this.`;
    }
    const sessions = new Set(hits.map(({ session }) => session.sessionId));
    const found = `${formatCount(hits.length, "hit")} in ${formatCount(sessions.size, "conversation")}`;
    const rest = isOutOfTime ? "; the time was up: “Load more…” goes on" : hasMore ? ", and more" : "";
    return `${found}${rest}.`;
  }

  /** Show the conversations that have *text*, and where; an empty one ends that. */
  searchFor(text: string): void {
    this.search.type(text);
  }

  /** Move the keyboard to the first row of the tree. */
  async focusResults(): Promise<void> {
    this.search.flush();
    await vscode.commands.executeCommand("segue.conversations.focus");
    await vscode.commands.executeCommand("list.focusFirst");
  }

  /** Include archived conversations in the tree, or hide them. */
  showArchived(isShown: boolean): void {
    this.isArchivedShown = isShown;
    void vscode.commands.executeCommand("setContext", "segue.archivedShown", isShown);
    this.changed.fire();
    this.search.setScope(this.createScope());
  }

  /** Show another page of a folder's conversations, or of what was found. */
  loadMore(folder: string | undefined): void {
    if (folder === undefined) {
      void this.search.loadMore();
      return;
    }
    this.limits.set(folder, this.getLimit(folder) + PAGE_SIZE);
    this.refresh();
  }

  /** The nodes below *node*, or the top level. Rejects if the server refuses to list the sessions. */
  async getChildren(node?: Node): Promise<Node[]> {
    if (this.isSearching) {
      return this.getFound(node);
    }
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
      case "hit":
        return createHitItem(node);
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
      item.tooltip = buildTooltip(node.session, isCurrent, await this.conversations.findOriginal(node));
    }
    return item;
  }

  /** Remove the view. */
  dispose(): void {
    clearTimeout(this.refreshTimer);
    this.search.dispose();
    for (const disposable of [...this.disposables, this.view, this.changed, this.searchChanged]) {
      disposable.dispose();
    }
  }

  private get isSearching(): boolean {
    return this.search.state.query !== "";
  }

  private createScope(): SearchScope {
    return { folders: isFolderOpen() ? getFolders() : [], archived: this.isArchivedShown };
  }

  private handleSearchChange(): void {
    this.searchChanged.fire();
    if (!this.search.state.isBusy) {
      this.view.description = this.isSearching ? `“${singleLine(this.search.state.query)}”` : "";
      void vscode.commands.executeCommand("setContext", "segue.searching", this.isSearching);
      this.changed.fire();
    }
  }

  /** What was found: below a node, or on the top level. */
  private getFound(node: Node | undefined): Node[] {
    if (node?.kind === "session") {
      return (node.hits ?? []).map((hit) => ({ kind: "hit", folder: node.folder, hit }));
    }
    const { hits, hasMore } = this.search.state;
    const sessions = groupHits(hits);
    if (node?.kind === "folder") {
      return sessions.filter(({ folder }) => folder === node.folder);
    }
    const folders = [...new Set(sessions.map(({ folder }) => folder))];
    const top: Node[] = getFolders().length > 1 ? folders.map((folder) => ({ kind: "folder", folder })) : sessions;
    return hasMore ? [...top, { kind: "more", folder: undefined }] : top;
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
    const { folder, session, hits } = node;
    const item = new vscode.TreeItem(formatTitle(session, MAX_TITLE_LENGTH));
    item.id = `${folder} ${session.sessionId}${hits === undefined ? "" : " found"}`;
    item.collapsibleState = vscode.TreeItemCollapsibleState[hits === undefined ? "None" : "Expanded"];
    const count = session.eventCount.toLocaleString("en");
    const speakers = nameSpeakers(session);
    item.description = [formatShortAge(session.updatedAt), count, ...speakers].join(" · ");
    item.contextValue = session.archivedAt === null ? "session" : "session.archived";
    item.iconPath = chooseIcon(session, this.isCurrent(node));
    const isFork = session.forkedFrom === null ? "" : ", fork";
    item.accessibilityInformation = {
      label: `${[formatTitle(session), formatAge(session.updatedAt), formatCount(session.eventCount, "event"), ...speakers].join(", ")}${isFork}`,
    };
    item.command = { command: "segue.previewTranscript", title: "Show Transcript", arguments: [node] };
    return item;
  }
}

/** The sessions in which something was found, in the order of the search. */
function groupHits(hits: readonly Hit[]): SessionNode[] {
  const nodes = new Map<string, SessionNode & { hits: Hit[] }>();
  for (const hit of hits) {
    const { session, folder = getActiveFolder() } = hit;
    const node = nodes.get(session.sessionId) ?? { kind: "session", folder, session, hits: [] };
    node.hits.push(hit);
    nodes.set(session.sessionId, node);
  }
  return [...nodes.values()];
}

function createHitItem({ folder, hit }: HitNode): vscode.TreeItem {
  const { session, event, excerpt } = hit;
  const item = new vscode.TreeItem(highlightExcerpt(excerpt));
  item.id = `${folder} ${session.sessionId} ${event?.id ?? ""} hit`;
  item.iconPath = new vscode.ThemeIcon(event === null ? "tag" : "dash");
  item.tooltip = singleLine(excerpt.map(({ text }) => text).join(""));
  item.command = { command: "segue.openHit", title: "Show Transcript", arguments: [hit] };
  return item;
}

function chooseIcon({ archivedAt, forkedFrom, source }: Session, isCurrent: boolean): vscode.ThemeIcon {
  if (archivedAt !== null && !isCurrent) {
    return new vscode.ThemeIcon("archive");
  }
  const color = isCurrent ? new vscode.ThemeColor("charts.green") : undefined;
  const icon = isCurrent ? "comment-discussion" : source === null ? "comment" : "terminal";
  return new vscode.ThemeIcon(forkedFrom !== null ? "repo-forked" : icon, color);
}

function buildTooltip(session: Session, isCurrent: boolean, original: Session | undefined): vscode.MarkdownString {
  const program = session.source === null ? [] : [nameProgram(session.source)];
  const speakers = new Set([...program, ...nameAll(session.agent, session.model, session.client)]);
  const lines = [
    `**${escapeMarkdown(formatTitle(session))}**`,
    `${formatCount(session.eventCount, "event")}, last active ${formatAge(session.updatedAt)}`,
    ...(speakers.size === 0 ? [] : [[...speakers].map(escapeMarkdown).join(" · ")]),
    ...(session.forkedFrom === null ? [] : [describeFork(session, original)]),
    escapeMarkdown(formatPlace(session, session.directory)),
    ...(isCurrent ? ["The current conversation of this folder."] : []),
    ...(session.archivedAt === null ? [] : [`Archived ${formatAge(session.archivedAt)}.`]),
  ];
  return new vscode.MarkdownString(lines.join("\n\n"));
}

function describeFork({ forkedAt }: Session, original: Session | undefined): string {
  const name = original === undefined ? "another conversation" : `“${escapeMarkdown(formatTitle(original))}”`;
  return `A fork of ${name}: the first ${formatCount(forkedAt ?? 0, "event")} are the same.`;
}
