// The command "Search Conversations…": a quick pick that searches while one types.

import { homedir } from "node:os";
import { sep } from "node:path";
import * as vscode from "vscode";
import { getFolders, isFolderOpen } from "./conversations";
import { markExcerpt } from "./excerpts";
import { escapeLabel, escapeMessage, formatAge, formatPlace, formatTitle, nameSpeakers } from "./format";
import type { Session } from "./protocol";
import type { Request } from "./requests";
import { type Hit, Search } from "./search";

interface Item extends vscode.QuickPickItem {
  hit?: Hit;
  isMore?: boolean;
}

/** Let the user search, and open what is picked. *everywhere*: search for this text, in all workspaces. */
export function showSearch(request: Request, open: (hit: Hit) => Promise<void>, everywhere?: string): void {
  const picker = new SearchPicker(request, open, everywhere !== undefined);
  picker.show(everywhere ?? "");
}

class SearchPicker {
  private readonly picker = vscode.window.createQuickPick<Item>();
  private readonly search: Search;
  /** How many hits were shown before the user asked for more. */
  private shownBefore = 0;

  constructor(
    request: Request,
    private readonly open: (hit: Hit) => Promise<void>,
    private isEverywhere: boolean,
  ) {
    this.isEverywhere ||= !isFolderOpen();
    this.search = new Search(request, this.createScope(), () => this.update());
    const { picker } = this;
    picker.placeholder = 'Words and "quoted phrases" that one message has, or a title';
    picker.matchOnDescription = false;
    picker.matchOnDetail = false;
    // Not in the types of the API. Without it, items whose label has the text come first, by their labels.
    Object.assign(picker, { sortByLabel: false });
    this.updateScope();
    picker.onDidChangeValue((value) => this.search.type(value));
    picker.onDidTriggerButton(() => this.toggleScope());
    picker.onDidAccept(() => void this.accept());
    picker.onDidHide(() => {
      this.search.dispose();
      picker.dispose();
    });
  }

  /** Open the quick pick with a text. */
  show(text: string): void {
    this.picker.value = text;
    this.picker.show();
    this.search.type(text);
    this.search.flush();
  }

  private createScope() {
    return { folders: this.isEverywhere ? [] : getFolders(), archived: true };
  }

  private toggleScope(): void {
    this.isEverywhere = !this.isEverywhere;
    this.updateScope();
    this.search.setScope(this.createScope());
  }

  private updateScope(): void {
    const here = { iconPath: new vscode.ThemeIcon("root-folder"), tooltip: "Search This Workspace Only" };
    const everywhere = { iconPath: new vscode.ThemeIcon("globe"), tooltip: "Search Everywhere" };
    this.picker.title = `Search Conversations: ${this.isEverywhere ? "Everywhere" : "This Workspace"}`;
    this.picker.buttons = isFolderOpen() ? [this.isEverywhere ? here : everywhere] : [];
  }

  private async accept(): Promise<void> {
    const [item] = this.picker.activeItems;
    if (!this.search.isCurrent) {
      this.search.flush(); // the items are those of an older text
    } else if (item?.isMore === true) {
      this.shownBefore = this.search.state.hits.length;
      await this.search.loadMore();
    } else if (item?.hit !== undefined) {
      this.picker.hide();
      await this.open(item.hit).catch((error: Error) => vscode.window.showErrorMessage(escapeMessage(`Segue: ${error.message}`)));
    }
  }

  private update(): void {
    const { picker, search } = this;
    picker.busy = search.state.isBusy;
    if (search.state.isBusy) {
      return; // the items stay until there are others
    }
    const first = this.shownBefore;
    this.shownBefore = 0;
    picker.items = search.isCurrent ? this.createItems() : [];
    const active = picker.items[first];
    if (first > 0 && active !== undefined) {
      picker.activeItems = [active];
    }
  }

  private createItems(): Item[] {
    const { hits, hasMore, isOutOfTime, problem } = this.search.state;
    const items: Item[] = hits.map(createItem);
    if (problem !== undefined) {
      items.push({ label: escapeLabel(problem), alwaysShow: true });
    } else if (hits.length === 0 && !hasMore) {
      const where = this.isEverywhere ? "" : " of this workspace";
      items.push({ label: `No conversation${where} has this.`, alwaysShow: true });
    }
    if (hasMore) {
      const detail = isOutOfTime ? { detail: "The search ended because its time was up. This goes on." } : {};
      items.push({ label: "Load more…", iconPath: new vscode.ThemeIcon("ellipsis"), alwaysShow: true, isMore: true, ...detail });
    }
    return items;
  }
}

function createItem(hit: Hit): Item {
  const { session, event, excerpt } = hit;
  const icon = event === null ? "tag" : session.source === null ? "comment" : "terminal";
  const facts = [
    ...nameSpeakers(session),
    formatAge(session.updatedAt),
    ...(session.archivedAt === null ? [] : ["archived"]),
    ...describeDirectory(session),
  ];
  return {
    label: escapeLabel(formatTitle(session)),
    description: facts.map(escapeLabel).join(" · "),
    detail: escapeLabel(markExcerpt(excerpt)),
    iconPath: new vscode.ThemeIcon(icon),
    alwaysShow: true,
    hit,
  };
}

/** The directory of a conversation that happened outside of the folders of this window. */
function describeDirectory(session: Session): string[] {
  const { directory, gitRoot, machine } = session;
  const folders = (vscode.workspace.workspaceFolders ?? []).map(({ uri }) => uri.fsPath);
  const isHere = !machine && folders.some((folder) => folder === gitRoot || `${directory}${sep}`.startsWith(`${folder}${sep}`));
  const home = homedir();
  const shown = !machine && directory.startsWith(home + sep) ? `~${directory.slice(home.length)}` : directory;
  return isHere ? [] : [formatPlace(session, shown)];
}
