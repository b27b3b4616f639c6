// Serves transcripts as read-only documents `segue:/TITLE.md?SESSION`.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder } from "./conversations";
import type { SessionNode } from "./conversationsView";
import { findMatch } from "./excerpts";
import type { Exportable } from "./exports";
import { type ForkPoint, toForkPoint } from "./forks";
import { formatTitle } from "./format";
import type { Appended, SearchHit, Session } from "./protocol";
import { renderTranscript } from "./transcript";
import { findTurns, type Turn } from "./turns";

const SCHEME = "segue";

/** The end of a turn in a document. */
interface TurnEnd {
  /** The first line after the turn. */
  line: number;
  turn: Turn;
}

/** The lines of an event in a document, or of its message. */
interface Lines {
  start: number;
  end: number;
}

/** Where the events of a document are, and where its turns end. */
interface Layout {
  /** Of the document: a content of another length is an older or a newer one. */
  lineCount: number;
  /** By the id of the event. */
  events: Map<string, Lines>;
  ends: TurnEnd[];
  /** The conversation has events after those of the document. */
  hasNewer: boolean;
  /** The seq of the last event that is known of the conversation. */
  knownSeq: number;
}

/** What was found in a session: its title, or one of its events. */
export type Found = Pick<SearchHit, "event" | "excerpt">;

/**
 * Provides the content of transcript documents, and updates open ones when events are appended. At the end of each
 * turn it offers to go on from there.
 */
export class TranscriptDocuments
  implements vscode.TextDocumentContentProvider, vscode.CodeLensProvider, vscode.Disposable
{
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly openChanged = new vscode.EventEmitter<void>();
  /** What was shown, by the id of the session. */
  private readonly nodes = new Map<string, SessionNode>();
  /** The seqs of the events around which a transcript is shown, by the id of the session; the others end with the newest. */
  private readonly centers = new Map<string, number>();
  /** What to select as soon as the document has it, by its URI. */
  private readonly awaited = new Map<string, Found>();
  /** By the URI of the document. */
  private readonly layouts = new Map<string, Layout>();
  private readonly disposables: vscode.Disposable[];

  /** Fires with the URI of a document whose content must be read again. */
  readonly onDidChange = this.changed.event;

  /** Fires when a transcript was opened or closed. */
  readonly onDidChangeOpen = this.openChanged.event;

  constructor(private readonly conversations: Conversations) {
    this.disposables = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      vscode.languages.registerCodeLensProvider({ scheme: SCHEME }, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        this.layouts.delete(uri.toString());
        this.awaited.delete(uri.toString());
        this.openChanged.fire();
      }),
      vscode.workspace.onDidChangeTextDocument(({ document }) => this.selectAwaited(document)),
      conversations.onDidRename((session) => this.rename(session)),
    ];
  }

  /** Show the transcript of a session in an editor, scrolled to its end, or with what was *found* selected. */
  async show(node: SessionNode, preserveFocus = false, found?: Found): Promise<void> {
    const { session } = node;
    this.nodes.set(session.sessionId, node);
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${toFileName(session)}.md`, query: session.sessionId });
    const event = found?.event ?? undefined;
    if (event === undefined) {
      this.centers.delete(session.sessionId);
    } else if (this.layouts.get(uri.toString())?.events.has(event.id) !== true) {
      this.centers.set(session.sessionId, event.seq);
    }
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const editor = await vscode.window.showTextDocument(document, { preview: true, preserveFocus });
    this.awaited.delete(uri.toString());
    if (found === undefined) {
      editor.revealRange(new vscode.Range(document.lineCount, 0, document.lineCount, 0));
    } else if (!this.select(editor, found)) {
      this.awaited.set(uri.toString(), found); // the document was open, and its new content is not there yet
    }
  }

  /** The transcript as Markdown. Rejects if the server refuses to read the session. */
  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const node = this.nodes.get(uri.query);
    const center = this.centers.get(uri.query);
    const isCentered = node !== undefined && center !== undefined;
    const events = await (isCentered ? this.conversations.loadAround(node.session, center) : this.conversations.loadNewest(uri.query));
    const omitted = (events[0]?.seq ?? 1) - 1;
    const newer = isCentered ? node.session.eventCount - (events.at(-1)?.seq ?? 0) : 0;
    const { text, starts, ends } = renderTranscript(this.findSession(uri), events, omitted, newer);
    const turns = findTurns(events);
    const lines = new Map(events.map(({ id }, index) => [id, { start: starts[index] ?? 0, end: ends[index] ?? 0 }]));
    this.layouts.set(uri.toString(), {
      lineCount: text.split("\n").length,
      events: lines,
      // The last turn may go on behind the document.
      ends: (newer > 0 ? turns.slice(0, -1) : turns).map((turn) => ({ turn, line: lines.get(turn.last.id)?.end ?? 0 })),
      hasNewer: newer > 0,
      knownSeq: Math.max(events.at(-1)?.seq ?? 0, isCentered ? node.session.eventCount : 0),
    });
    this.openChanged.fire();
    return text;
  }

  /** What can be done at the end of each turn. Only the place of a lens comes from stored text. */
  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    const ends = this.findEnds(document);
    const last = this.layouts.get(document.uri.toString())?.hasNewer === true ? undefined : ends.at(-1);
    return ends.flatMap(({ line, turn }) => {
      const range = new vscode.Range(line, 0, line, 0);
      const point = this.toPoint(document.uri, turn);
      const fork = { command: "segue.forkFromHere", title: "Fork Conversation from Here", arguments: [point] };
      const goBack = { command: "segue.goBackToHere", title: "Go Back to Here", arguments: [point] };
      const commands = turn === last?.turn || this.isArchived(document.uri) ? [fork] : [fork, goBack];
      return commands.map((command) => new vscode.CodeLens(range, command));
    });
  }

  /** The end of the turn in which the cursor is; undefined if that is no transcript, or no turn. */
  getPointAtCursor(): ForkPoint | undefined {
    const editor = vscode.window.activeTextEditor;
    if (editor?.document.uri.scheme !== SCHEME) {
      return undefined;
    }
    const ends = this.findEnds(editor.document);
    const end = ends.find(({ line }) => editor.selection.active.line <= line) ?? ends.at(-1);
    return end === undefined ? undefined : this.toPoint(editor.document.uri, end.turn);
  }

  /** The conversation of a document, by default the one in the active editor; undefined if that is no transcript. */
  findConversation(uri: unknown): Exportable | undefined {
    const document = uri instanceof vscode.Uri ? uri : vscode.window.activeTextEditor?.document.uri;
    if (document?.scheme !== SCHEME) {
      return undefined;
    }
    const folder = this.nodes.get(document.query)?.folder ?? getActiveFolder();
    return { folder, session: { sessionId: document.query, title: this.findSession(document).title } };
  }

  /** Unregister the provider. */
  dispose(): void {
    for (const disposable of [...this.disposables, this.changed, this.openChanged]) {
      disposable.dispose();
    }
  }

  /** The conversations whose transcripts are open, and the seqs of the last events that are known of them. */
  get knownSeqs(): ReadonlyMap<string, number> {
    const seqs = new Map<string, number>();
    for (const [uri, { knownSeq }] of this.layouts) {
      seqs.set(vscode.Uri.parse(uri).query, knownSeq);
    }
    return seqs;
  }

  /** Show what any window has appended to a conversation, or that it was deleted. */
  handleAppended({ sessionId, session }: Appended): void {
    const node = this.nodes.get(sessionId);
    if (node !== undefined && session !== null) {
      this.nodes.set(sessionId, { ...node, session });
    }
    this.refresh((uri) => uri.query === sessionId);
  }

  private selectAwaited(document: vscode.TextDocument): void {
    const found = this.awaited.get(document.uri.toString());
    const editor = vscode.window.visibleTextEditors.find((each) => each.document === document);
    if (found !== undefined && editor !== undefined && this.select(editor, found)) {
      this.awaited.delete(document.uri.toString());
    }
  }

  /** Select what was found, in the middle of the editor; returns false if the document does not have it. */
  private select(editor: vscode.TextEditor, { event, excerpt }: Found): boolean {
    const { document } = editor;
    if (event === null) {
      const top = new vscode.Range(0, 0, 0, 0);
      editor.selection = new vscode.Selection(top.start, top.end);
      editor.revealRange(top, vscode.TextEditorRevealType.AtTop);
      return true;
    }
    const layout = this.layouts.get(document.uri.toString());
    const lines = layout?.lineCount === document.lineCount ? layout.events.get(event.id) : undefined;
    if (lines === undefined) {
      return false;
    }
    const heading = document.lineAt(lines.start).range;
    const body = new vscode.Range(lines.start + 1, 0, lines.end, 0);
    const match = findMatch(document.getText(body), excerpt);
    const offset = document.offsetAt(body.start);
    const range = match === undefined ? heading : new vscode.Range(document.positionAt(offset + match[0]), document.positionAt(offset + match[1]));
    editor.selection = new vscode.Selection(range.start, range.end);
    editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
    return true;
  }

  private refresh(matches: (uri: vscode.Uri) => boolean): void {
    for (const { uri } of vscode.workspace.textDocuments) {
      if (uri.scheme === SCHEME && matches(uri)) {
        this.changed.fire(uri);
      }
    }
  }

  private rename(session: Session): void {
    const node = this.nodes.get(session.sessionId);
    if (node !== undefined) {
      this.nodes.set(session.sessionId, { ...node, session });
      this.refresh((uri) => uri.query === session.sessionId);
    }
  }

  private findEnds({ uri, lineCount }: vscode.TextDocument): TurnEnd[] {
    const layout = this.layouts.get(uri.toString());
    return layout?.lineCount === lineCount ? layout.ends : [];
  }

  private toPoint(uri: vscode.Uri, turn: Turn): ForkPoint {
    const folder = this.nodes.get(uri.query)?.folder ?? getActiveFolder();
    return toForkPoint(folder, uri.query, turn);
  }

  /** The session of a document, or as much of it as the URI has, if the document is older than this window. */
  private findSession(uri: vscode.Uri): Pick<Session, "title"> {
    return this.nodes.get(uri.query)?.session ?? { title: uri.path.slice(1, -".md".length) };
  }

  private isArchived(uri: vscode.Uri): boolean {
    return (this.nodes.get(uri.query)?.session.archivedAt ?? null) !== null;
  }
}

function toFileName(session: Session): string {
  return formatTitle(session, 60).replace(/[/\\:*?"<>|#]+/g, " ").trim() || session.sessionId;
}
