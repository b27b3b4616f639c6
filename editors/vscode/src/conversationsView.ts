// The view "Conversations": the sessions of this workspace, newest first, by day.

import * as vscode from "vscode";
import {
  arrangeByDay,
  arrangeHits,
  findNeighbor,
  findSession,
  type FolderList,
  getChildren,
  listSessions,
  type Node,
  type SessionNode,
} from "./conversationsTree";
import { type Conversations, getActiveFolder, getFolders, isFolderOpen } from "./conversations";
import type { CurrentSessions } from "./currentSessions";
import { escapeMessage, formatCount, singleLine } from "./format";
import { ConnectionLostError, type Request } from "./requests";
import { Search, type SearchScope } from "./search";
import type { Searchable } from "./searchBox";
import { buildTooltip, createDaysItem, createFolderItem, createHitItem, createMoreItem, createSessionItem } from "./treeItems";

export type { SessionNode } from "./conversationsTree";

const PAGE_SIZE = 100;
const REFRESH_DELAY_MS = 150;

/** What the view shows while it has no rows, as the context `segue.listState`. */
type ListState = "loading" | "listed" | "empty" | "refused";

/**
 * Provides the tree of the view: folders if there are several, the sessions of each by day, and "Load more…". During a
 * search these are the sessions in which something was found, with what was found.
 */
export class ConversationsView implements vscode.TreeDataProvider<Node>, Searchable, vscode.Disposable {
  private readonly view: vscode.TreeView<Node>;
  private readonly disposables: vscode.Disposable[];
  private readonly changed = new vscode.EventEmitter<void>();
  /** How many sessions of a folder to show, by the URI of the folder. */
  private readonly limits = new Map<string, number>();
  private readonly search: Search;
  private readonly searchChanged = new vscode.EventEmitter<void>();
  private areArchivedShown = false;
  /** The top level as it was loaded last. */
  private roots: Node[] = [];
  /** How often the top level was loaded, and when such a load has ended. */
  private loadCount = 0;
  private readonly loaded = new vscode.EventEmitter<number>();
  private listState: ListState | undefined;
  /** Why the list could not be read, as it was told. */
  private toldRefusal: string | undefined;
  private refreshTimer: NodeJS.Timeout | undefined;

  /** Fires when the whole tree must be reloaded. */
  readonly onDidChangeTreeData = this.changed.event;

  /** Fires when the status of the search changes. */
  readonly onDidChangeSearch = this.searchChanged.event;

  constructor(
    private readonly conversations: Conversations,
    private readonly currentSessions: CurrentSessions,
    request: Request,
  ) {
    this.setListState("loading");
    this.search = new Search(request, this.createScope(), () => this.handleSearchChange());
    this.view = vscode.window.createTreeView("segue.conversations", { treeDataProvider: this });
    const refresh = () => this.scheduleRefresh();
    this.disposables = [
      conversations.onDidChangeList(refresh),
      conversations.onDidChangeList(() => this.search.repeat()),
      vscode.workspace.onDidChangeWorkspaceFolders(() => this.search.setScope(this.createScope())),
      conversations.onDidChangeSession(refresh),
      currentSessions.onDidChange(refresh),
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

  /** Whether archived conversations have rows. */
  get showsArchived(): boolean {
    return this.areArchivedShown;
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
    this.areArchivedShown = isShown;
    void vscode.commands.executeCommand("setContext", "segue.archivedShown", isShown);
    this.changed.fire();
    this.search.setScope(this.createScope());
  }

  /** Show another page of a folder's conversations, or of what was found, and go on in its first row. */
  async loadMore(folder: string | undefined): Promise<void> {
    if (folder === undefined) {
      void this.search.loadMore();
      return;
    }
    const known = this.listFolder(folder).length;
    this.limits.set(folder, this.getLimit(folder) + PAGE_SIZE);
    await this.reload();
    const rows = this.listFolder(folder);
    await this.focus(rows[known] ?? rows.at(-1));
  }

  /**
   * Do something that may take the row of a conversation away. If *work* resolves with that it does, the keyboard goes to
   * the row below, else to the one above; otherwise VS Code gives it back to where it was.
   */
  async workOnRow(node: SessionNode, work: () => Promise<boolean>): Promise<void> {
    const neighbor = findNeighbor(this.roots, node);
    if (await work()) {
      await this.reload();
      await this.focus(neighbor && findSession(this.roots, neighbor));
    }
  }

  /** The nodes below *node*, or the top level. Never rejects: VS Code would show a message of its own for that. */
  async getChildren(node?: Node): Promise<Node[]> {
    if (node !== undefined) {
      return getChildren(node);
    }
    this.loadCount += 1;
    const load = this.loadCount;
    const roots = this.isSearching ? this.arrangeFound() : await this.loadLists();
    this.roots = roots;
    this.loaded.fire(load);
    return roots;
  }

  /** The node above *node*: VS Code asks for it to reveal a row. */
  getParent(node: Node): Node | undefined {
    return node.kind === "folder" ? undefined : node.parent;
  }

  /** How a node is displayed. */
  getTreeItem(node: Node): vscode.TreeItem {
    switch (node.kind) {
      case "folder":
        return createFolderItem(node);
      case "days":
        return createDaysItem(node);
      case "session":
        return createSessionItem(node, this.isCurrent(node));
      case "hit":
        return createHitItem(node);
      case "more":
        return createMoreItem(node);
    }
  }

  /** Add the tooltip, for which the original of a fork is looked up. */
  async resolveTreeItem(item: vscode.TreeItem, node: Node): Promise<vscode.TreeItem> {
    if (node.kind === "session") {
      item.tooltip = buildTooltip(node.session, this.isCurrent(node), await this.conversations.findOriginal(node));
    }
    return item;
  }

  /** Remove the view. */
  dispose(): void {
    clearTimeout(this.refreshTimer);
    this.search.dispose();
    for (const disposable of [...this.disposables, this.view, this.changed, this.loaded, this.searchChanged]) {
      disposable.dispose();
    }
  }

  private get isSearching(): boolean {
    return this.search.state.query !== "";
  }

  private createScope(): SearchScope {
    return { folders: isFolderOpen() ? getFolders() : [], archived: this.areArchivedShown };
  }

  private handleSearchChange(): void {
    this.searchChanged.fire();
    if (!this.search.state.isBusy) {
      this.view.description = this.isSearching ? `“${singleLine(this.search.state.query)}”` : "";
      void vscode.commands.executeCommand("setContext", "segue.searching", this.isSearching);
      this.changed.fire();
    }
  }

  private arrangeFound(): Node[] {
    const { hits, hasMore } = this.search.state;
    return arrangeHits(hits, hasMore, getFolders().length > 1, getActiveFolder());
  }

  /** The lists of all folders by day. If they cannot be read, there are none, and the view says why. */
  private async loadLists(): Promise<Node[]> {
    try {
      const roots = arrangeByDay(await Promise.all(getFolders().map((folder) => this.loadList(folder))));
      this.toldRefusal = undefined;
      this.setListState(roots.length > 0 ? "listed" : "empty");
      return roots;
    } catch (error) {
      this.tellRefusal(error as Error);
      return [];
    }
  }

  private async loadList(folder: string): Promise<FolderList> {
    const limit = this.getLimit(folder);
    const options = { workspace: folder, archived: this.areArchivedShown };
    let page = await this.conversations.list({ ...options, limit: Math.min(limit, 1_000) });
    const sessions = page.sessions;
    while (page.nextCursor !== null && sessions.length < limit) {
      page = await this.conversations.list({ ...options, cursor: page.nextCursor });
      sessions.push(...page.sessions);
    }
    return { folder, sessions, hasMore: page.nextCursor !== null };
  }

  /** If no server can be started, that is told already. */
  private tellRefusal(error: Error): void {
    if (error instanceof ConnectionLostError) {
      this.setListState("loading");
      return;
    }
    this.setListState("refused");
    if (this.toldRefusal !== error.message) {
      this.toldRefusal = error.message;
      void this.offerRetry(error.message);
    }
  }

  /** With a button, the message is shown whole, and stays. */
  private async offerRetry(reason: string): Promise<void> {
    if ((await vscode.window.showErrorMessage(escapeMessage(`Segue: ${reason}`), "Try Again")) === "Try Again") {
      this.toldRefusal = undefined;
      this.refresh();
    }
  }

  private setListState(state: ListState): void {
    if (this.listState !== state) {
      this.listState = state;
      void vscode.commands.executeCommand("setContext", "segue.listState", state);
    }
  }

  /** Load the tree anew, and wait for that if it is visible. */
  private async reload(): Promise<void> {
    const previous = this.loadCount;
    const loaded = new Promise<void>((resolve) => {
      const listener = this.loaded.event((load) => {
        if (load > previous) {
          listener.dispose();
          resolve();
        }
      });
    });
    this.changed.fire();
    await (this.view.visible ? loaded : undefined);
  }

  private async focus(node: SessionNode | undefined): Promise<void> {
    if (node !== undefined && this.view.visible) {
      await this.view.reveal(node, { focus: true, select: false });
    }
  }

  private listFolder(folder: string): SessionNode[] {
    return listSessions(this.roots).filter((node) => node.folder === folder);
  }

  private isCurrent({ folder, session }: SessionNode): boolean {
    return this.currentSessions.get(folder)?.session.sessionId === session.sessionId;
  }

  private getLimit(folder: string): number {
    return this.limits.get(folder) ?? PAGE_SIZE;
  }
}
