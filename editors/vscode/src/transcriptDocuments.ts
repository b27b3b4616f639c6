// Serves transcripts as read-only documents `segue:/TITLE.md?SESSION`.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder } from "./conversations";
import type { SessionNode } from "./conversationsView";
import { type ForkPoint, toForkPoint } from "./forks";
import { formatTitle } from "./format";
import type { Session } from "./protocol";
import { renderTranscript } from "./transcript";
import { findTurns, type Turn } from "./turns";

const SCHEME = "segue";

/** The end of a turn in a document. */
interface TurnEnd {
  /** The first line after the turn. */
  line: number;
  turn: Turn;
}

/** Where the turns of a document end. */
interface Layout {
  /** Of the document: a content of another length is an older or a newer one. */
  lineCount: number;
  ends: TurnEnd[];
}

/**
 * Provides the content of transcript documents, and updates open ones when events are appended. At the end of each
 * turn it offers to go on from there.
 */
export class TranscriptDocuments
  implements vscode.TextDocumentContentProvider, vscode.CodeLensProvider, vscode.Disposable
{
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  /** What was shown, by the id of the session. */
  private readonly nodes = new Map<string, SessionNode>();
  /** By the URI of the document. */
  private readonly layouts = new Map<string, Layout>();
  private readonly disposables: vscode.Disposable[];

  /** Fires with the URI of a document whose content must be read again. */
  readonly onDidChange = this.changed.event;

  constructor(private readonly conversations: Conversations) {
    this.disposables = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      vscode.languages.registerCodeLensProvider({ scheme: SCHEME }, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => this.layouts.delete(uri.toString())),
      conversations.onDidAppend(({ sessionId }) => this.refresh((uri) => uri.query === sessionId)),
      conversations.onDidRename((session) => this.rename(session)),
    ];
  }

  /** Show the transcript of a session in an editor, scrolled to its end. */
  async show(node: SessionNode): Promise<void> {
    const { session } = node;
    this.nodes.set(session.sessionId, node);
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${toFileName(session)}.md`, query: session.sessionId });
    this.changed.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    const editor = await vscode.window.showTextDocument(document, { preview: true });
    editor.revealRange(new vscode.Range(document.lineCount, 0, document.lineCount, 0));
  }

  /** The transcript as Markdown. Rejects if the server refuses to read the session. */
  async provideTextDocumentContent(uri: vscode.Uri): Promise<string> {
    const events = await this.conversations.loadNewest(uri.query);
    const { text, ends } = renderTranscript(this.findSession(uri), events, (events[0]?.seq ?? 1) - 1);
    const lines = new Map(events.map(({ id }, index) => [id, ends[index] ?? 0]));
    this.layouts.set(uri.toString(), {
      lineCount: text.split("\n").length,
      ends: findTurns(events).map((turn) => ({ turn, line: lines.get(turn.last.id) ?? 0 })),
    });
    return text;
  }

  /** What can be done at the end of each turn. Only the place of a lens comes from stored text. */
  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    const ends = this.findEnds(document);
    return ends.flatMap(({ line, turn }) => {
      const range = new vscode.Range(line, 0, line, 0);
      const point = this.toPoint(document.uri, turn);
      const fork = { command: "segue.forkFromHere", title: "Fork Conversation from Here", arguments: [point] };
      const goBack = { command: "segue.goBackToHere", title: "Go Back to Here", arguments: [point] };
      const commands = turn === ends.at(-1)?.turn || this.isArchived(document.uri) ? [fork] : [fork, goBack];
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

  /** Unregister the provider. */
  dispose(): void {
    for (const disposable of [...this.disposables, this.changed]) {
      disposable.dispose();
    }
  }

  /** Reload every open transcript. */
  refreshAll(): void {
    this.refresh(() => true);
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
