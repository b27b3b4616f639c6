// Shows transcripts: read-only pages beside the editors, which grow while anyone writes to their conversations.

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import type { SessionNode } from "./conversationsView";
import { buildPatterns } from "./excerpts";
import type { Exportable } from "./exports";
import { type ForkPoint, toForkPoint } from "./forks";
import { formatAge, formatTitle, nameAll } from "./format";
import { LoadedEvents } from "./loadedEvents";
import type { Appended, SearchHit, Session } from "./protocol";
import { isKind } from "./requests";
import { findBlockId, renderHead, TranscriptRenderer } from "./transcript";
import { createTranscriptHtml, type FromPage, type ToPage } from "./transcriptHtml";
import { findTurns } from "./turns";

const VIEW_TYPE = "segue.transcript";
const MAX_TITLE_LENGTH = 40;
/** While a conversation grows, it is not looked up more often than this whether another window has it open. */
const LOOK_UP_MS = 5_000;

/** What was found in a session: its title, or one of its events. */
export type Found = Pick<SearchHit, "event" | "excerpt">;

/** One panel with the conversation that it shows at the moment. Changes are made one after the other. */
class Transcript {
  private loaded: LoadedEvents;
  private renderer = new TranscriptRenderer();
  /** The keys of the blocks that the page has, by their ids; undefined while there is no page. */
  private keys: Map<string, string> | undefined;
  private scroll: ToPage["scroll"] = "end";
  private original: Session | undefined;
  private isOpenElsewhere = false;
  private lookedUpAt = 0;
  private problem: string | undefined;
  private changing: Promise<void> = Promise.resolve();

  constructor(
    readonly panel: vscode.WebviewPanel,
    private readonly conversations: Conversations,
    /** A preview shows the next conversation in the place of this one. */
    public isPreview: boolean,
    public node: SessionNode,
    private readonly onLoaded: () => void,
  ) {
    this.loaded = this.createLoaded();
    panel.webview.options = { enableScripts: true, localResourceRoots: [] };
    panel.webview.onDidReceiveMessage((message: FromPage) => this.receive(message));
    panel.onDidChangeViewState(() => panel.visible && this.refreshAction());
    panel.webview.html = createTranscriptHtml(randomBytes(16).toString("hex"));
  }

  get sessionId(): string {
    return this.node.session.sessionId;
  }

  /** The seq of the last event that is known of the conversation; undefined until it is loaded. */
  get knownSeq(): number | undefined {
    const { events, hasNewer, lastSeq } = this.loaded;
    return events.length === 0 ? undefined : hasNewer ? this.node.session.eventCount : lastSeq;
  }

  /** Show a conversation at its end, or what was *found* in it. */
  show(node: SessionNode, found?: Found): Promise<void> {
    return this.change(async () => {
      if (node.session.sessionId !== this.sessionId) {
        this.loaded = this.createLoaded();
        this.renderer = new TranscriptRenderer();
        this.keys?.clear();
        this.lookedUpAt = 0;
      }
      this.node = node;
      this.original = await this.conversations.findOriginal(node);
      const event = found?.event ?? undefined;
      if (event !== undefined) {
        await this.loaded.loadAround(event.seq);
        const block = findBlockId(this.loaded.events, event.id);
        this.scroll = block === undefined ? "end" : { block, patterns: buildPatterns(found?.excerpt ?? []) };
      } else {
        await this.loaded.loadNewest();
        this.scroll = found === undefined ? "end" : "top";
      }
      await this.lookUp();
      this.onLoaded();
    });
  }

  /** Show what any window has appended, or that the conversation was deleted. */
  handleAppended({ session, events, invocations }: Appended): Promise<void> {
    return this.change(async () => {
      if (session === null) {
        this.problem = "This conversation was deleted.";
        return;
      }
      this.node = { ...this.node, session };
      await this.loaded.add(events, invocations);
      if (Date.now() - this.lookedUpAt > LOOK_UP_MS) {
        await this.lookUp();
      }
    });
  }

  /** Show other data of the session. */
  handleSession(session: Session): void {
    this.node = { ...this.node, session };
    this.refresh();
  }

  /** Show again what can be done with the conversation. */
  refreshAction(): void {
    void this.change(() => this.lookUp());
  }

  private createLoaded(): LoadedEvents {
    return new LoadedEvents((page) => this.conversations.events(this.sessionId, page));
  }

  /** Make a change after all earlier ones, and show what came of it. Never rejects: the page says what is wrong. */
  private change(work: () => Promise<void>): Promise<void> {
    this.changing = this.changing.then(async () => {
      try {
        this.problem = undefined;
        await work();
      } catch (error) {
        this.problem = isKind(error, "SessionNotFound") ? "This conversation was deleted." : (error as Error).message;
      }
      this.refresh();
    });
    return this.changing;
  }

  private async lookUp(): Promise<void> {
    this.lookedUpAt = Date.now();
    this.isOpenElsewhere = false;
    if (!this.isCurrent) {
      const { session, isOpenElsewhere } = await this.conversations.lookUp(this.node);
      this.node = { ...this.node, session };
      this.isOpenElsewhere = isOpenElsewhere;
    }
  }

  private get isCurrent(): boolean {
    return this.conversations.getCurrent(this.node.folder)?.session.sessionId === this.sessionId;
  }

  /** Send the page what it does not have yet. */
  private refresh(): void {
    const { node: { session }, loaded, keys } = this;
    this.panel.title = formatTitle(session, MAX_TITLE_LENGTH);
    if (keys === undefined) {
      return;
    }
    const blocks = this.renderer.render(session, loaded);
    const message: ToPage = {
      head: renderHead(session, this.original),
      blocks: blocks.map(({ id, key, html }) => (keys.get(id) === key ? { id } : { id, html })),
      hasOlder: loaded.hasOlder,
      hasNewer: loaded.hasNewer,
      action: this.describeAction(),
      scroll: this.scroll,
      state: { kind: "session", folder: this.node.folder, session },
    };
    this.keys = new Map(blocks.map(({ id, key }) => [id, key]));
    if (loaded.events.length > 0) {
      this.scroll = "keep";
    }
    void this.panel.webview.postMessage(message);
  }

  private describeAction(): ToPage["action"] {
    const { session } = this.node;
    if (this.problem !== undefined) {
      return { title: "", note: this.problem };
    }
    if (this.isCurrent) {
      return { title: "Ask @segue", note: "The current conversation of this folder." };
    }
    const [owner] = nameAll(session.sharedBy);
    const why = this.isOpenElsewhere ? "Open in another window" : owner && `Shared by ${owner}`;
    const note = why !== undefined
      ? `${why}, and shown here as it grows. You go on in a fork of it.`
      : `${session.archivedAt === null ? "L" : "Archived; l"}ast active ${formatAge(session.updatedAt)}.`;
    return { title: "Go On Here", note };
  }

  private receive(message: FromPage): void {
    switch (message.kind) {
      case "ready":
        this.keys = new Map();
        this.scroll = this.scroll === "keep" ? "end" : this.scroll;
        this.refresh();
        break;
      case "older":
        void this.change(() => this.loaded.loadOlder());
        break;
      case "newer":
        void this.change(() => this.loaded.loadNewer());
        break;
      case "newest":
        void this.change(async () => {
          if (this.loaded.hasNewer) {
            await this.loaded.loadNewest();
          }
          this.scroll = "end";
        });
        break;
      case "original":
        if (this.original !== undefined) {
          void vscode.commands.executeCommand("segue.showTranscript", { ...this.node, session: this.original });
        }
        break;
      case "goOn":
        void vscode.commands.executeCommand("segue.goOnHere", this.node);
        break;
      case "copy":
        void vscode.env.clipboard.writeText(String(message.text));
        break;
      case "fork":
      case "goBack": {
        const point = this.findPoint(message.event);
        if (point !== undefined) {
          void vscode.commands.executeCommand(message.kind === "fork" ? "segue.forkFromHere" : "segue.goBackToHere", point);
        }
        break;
      }
    }
  }

  private findPoint(eventId: string): ForkPoint | undefined {
    const turn = findTurns(this.loaded.events).find(({ last }) => last.id === eventId);
    return turn === undefined ? undefined : toForkPoint(this.node.folder, this.sessionId, turn);
  }
}

/** Opens transcripts, and updates the open ones. */
export class TranscriptPanels implements vscode.WebviewPanelSerializer, vscode.Disposable {
  private readonly transcripts = new Set<Transcript>();
  private readonly openChanged = new vscode.EventEmitter<void>();
  private readonly disposables: vscode.Disposable[];

  /** Fires when a transcript was opened or closed. */
  readonly onDidChangeOpen = this.openChanged.event;

  constructor(
    private readonly extension: vscode.Uri,
    private readonly conversations: Conversations,
  ) {
    const refreshActions = () => this.transcripts.forEach((transcript) => transcript.refreshAction());
    this.disposables = [
      vscode.window.registerWebviewPanelSerializer(VIEW_TYPE, this),
      conversations.onDidRename((session) => this.find(session.sessionId)?.handleSession(session)),
      conversations.onDidChangeSession(refreshActions),
      conversations.onDidChangeArchived((sessionId) => this.find(sessionId)?.refreshAction()),
      this.openChanged,
    ];
  }

  /** Show the transcript of a session at its end, or what was *found* in it. */
  async show(node: SessionNode, preserveFocus = false, found?: Found): Promise<void> {
    await this.open(node, preserveFocus, false, found);
  }

  /** Like `show`, in the place of the last preview, without the focus. */
  async preview(node: SessionNode, found?: Found): Promise<void> {
    await this.open(node, true, true, found);
  }

  /** Show a transcript again after the window was restarted. VS Code calls it. */
  async deserializeWebviewPanel(panel: vscode.WebviewPanel, state: unknown): Promise<void> {
    const node = state as SessionNode | undefined;
    if (typeof node?.session?.sessionId !== "string") {
      panel.dispose();
      return;
    }
    await this.add(panel, node, false).show(node);
  }

  /** The conversation of the active transcript; undefined if there is none. */
  findConversation(): Exportable | undefined {
    return this.active?.node;
  }

  /** The transcript that has the focus, or had it last in the active group of editors. */
  private get active(): Transcript | undefined {
    return [...this.transcripts].find(({ panel }) => panel.active);
  }

  /** The conversations whose transcripts are open, and the seqs of the last events that are known of them. */
  get knownSeqs(): ReadonlyMap<string, number> {
    const seqs = new Map<string, number>();
    for (const { sessionId, knownSeq } of this.transcripts) {
      if (knownSeq !== undefined) {
        seqs.set(sessionId, knownSeq);
      }
    }
    return seqs;
  }

  /** Show what any window has appended to a conversation, or that it was deleted. */
  handleAppended(appended: Appended): void {
    void this.find(appended.sessionId)?.handleAppended(appended);
  }

  /** Close nothing: VS Code restores the transcripts. */
  dispose(): void {
    this.disposables.forEach((each) => each.dispose());
  }

  private find(sessionId: string): Transcript | undefined {
    return [...this.transcripts].find((transcript) => transcript.sessionId === sessionId);
  }

  private async open(node: SessionNode, preserveFocus: boolean, isPreview: boolean, found?: Found): Promise<void> {
    const existing = this.find(node.session.sessionId) ?? [...this.transcripts].find((each) => each.isPreview);
    const transcript = existing ?? this.create(node, preserveFocus, isPreview);
    transcript.isPreview &&= isPreview;
    existing?.panel.reveal(undefined, preserveFocus);
    await transcript.show(node, found);
  }

  private create(node: SessionNode, preserveFocus: boolean, isPreview: boolean): Transcript {
    const viewColumn = vscode.ViewColumn.Active;
    const options = { enableFindWidget: true };
    const panel = vscode.window.createWebviewPanel(VIEW_TYPE, formatTitle(node.session, MAX_TITLE_LENGTH), { viewColumn, preserveFocus }, options);
    return this.add(panel, node, isPreview);
  }

  private add(panel: vscode.WebviewPanel, node: SessionNode, isPreview: boolean): Transcript {
    panel.iconPath = vscode.Uri.joinPath(this.extension, "media", "segue.png");
    const transcript = new Transcript(panel, this.conversations, isPreview, node, () => this.openChanged.fire());
    this.transcripts.add(transcript);
    panel.onDidDispose(() => {
      this.transcripts.delete(transcript);
      this.openChanged.fire();
    });
    return transcript;
  }
}
