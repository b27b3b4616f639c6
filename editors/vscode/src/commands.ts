// The commands of the extension.

import * as vscode from "vscode";
import { type Conversations, getActiveFolder, type GoneBack } from "./conversations";
import type { Node } from "./conversationsTree";
import type { CurrentSessions } from "./currentSessions";
import type { ConversationsView, SessionNode } from "./conversationsView";
import { type Exportable, exportConversation } from "./exports";
import { describeGoBack, type ForkPoint, isForkPoint, pickForkPoint, pickGoBackPoint } from "./forks";
import { escapeLabel, escapeMessage, formatAge, formatCount, formatTitle, nameSpeakers } from "./format";
import type { ImportWatcher } from "./importWatcher";
import { pickWay, startInTerminal, toOwnProgram } from "./ownProgram";
import type { Session } from "./protocol";
import { isStartFailure } from "./requests";
import type { Hit } from "./search";
import type { SearchBox } from "./searchBox";
import { showSearch } from "./searchPicker";
import type { Server } from "./server";
import type { TranscriptPanels } from "./transcriptPanels";

/** Characters of a title. */
const MAX_TITLE_LENGTH = 200;

/** What the commands work on. */
export interface Components {
  conversations: Conversations;
  currentSessions: CurrentSessions;
  importWatcher: ImportWatcher;
  log: vscode.LogOutputChannel;
  searchBox: SearchBox;
  server: Server;
  transcripts: TranscriptPanels;
  view: ConversationsView;
}

type Command = (components: Components, argument?: unknown) => unknown;

const COMMANDS: { [id: string]: Command } = {
  "segue.new": async ({ conversations }) => {
    await conversations.startNew(getActiveFolder());
    await openChat();
  },
  "segue.resume": resumeConversation,
  "segue.search": searchConversations,
  "segue.clearSearch": ({ searchBox }) => searchBox.clear(),
  "segue.openHit": ({ transcripts }, hit) => openHit(transcripts, hit as Hit, true),
  "segue.showTranscript": showTranscript,
  "segue.previewTranscript": ({ transcripts }, node) => (isSessionNode(node) ? transcripts.preview(node) : undefined),
  "segue.import": ({ importWatcher }) => importWatcher.offer(),
  "segue.export": async (components, argument) => {
    const exportable = await getExportable(components, argument);
    if (exportable !== undefined) {
      await exportConversation(components.server.request, exportable);
    }
  },
  "segue.fork": async (components, node) => fork(components, await pickPoint(components, node, "Fork", pickForkPoint)),
  "segue.forkFromHere": (components, point) => (isForkPoint(point) ? fork(components, point) : undefined),
  "segue.goOnHere": goOnHere,
  "segue.goBack": async (components, node) => goBack(components, await pickPoint(components, node, "Go back in", pickGoBackPoint)),
  "segue.goBackToHere": (components, point) => (isForkPoint(point) ? goBack(components, point) : undefined),
  "segue.undoGoBack": ({ conversations }, goneBack) => conversations.undoGoBack(isGoneBack(goneBack) ? goneBack : undefined),
  "segue.rename": renameConversation,
  "segue.archive": archiveConversation,
  "segue.unarchive": async ({ conversations }, node) => {
    if (isSessionNode(node)) {
      await conversations.unarchive(node.session.sessionId);
    }
  },
  "segue.delete": deleteConversation,
  "segue.copyId": async (_, node) => {
    if (isSessionNode(node)) {
      await vscode.env.clipboard.writeText(node.session.sessionId);
    }
  },
  "segue.refresh": ({ view }) => view.refresh(),
  "segue.openRow": openRow,
  "segue.loadMore": ({ view }, folder) => view.loadMore(typeof folder === "string" ? folder : undefined),
  "segue.showArchived": ({ view }) => view.showArchived(true),
  "segue.hideArchived": ({ view }) => view.showArchived(false),
  "segue.showLog": ({ log }) => log.show(),
  "segue.showData": showDatabaseLocation,
  "segue.restart": ({ server }) => server.restart(),
  "segue.copyInstallCommand": ({ server }) => server.copyInstallCommand(),
  "segue.sendUnsent": ({ conversations }) => conversations.retryNow(),
};

/** Register all commands. A command that fails shows its error as a message. */
export function registerCommands(components: Components): vscode.Disposable[] {
  return Object.entries(COMMANDS).map(([id, command]) =>
    vscode.commands.registerCommand(id, async (argument?: unknown) => {
      try {
        await command(components, argument);
      } catch (error) {
        if (isStartFailure(error)) {
          void components.server.showFailure();
          return;
        }
        void vscode.window.showErrorMessage(escapeMessage(`Segue: ${(error as Error).message}`));
      }
    }),
  );
}

/** *argument* is a conversation of the view, or `chat` to go on with a picked one in the chat view in any case. */
async function resumeConversation({ conversations, server, transcripts }: Components, argument?: unknown): Promise<void> {
  const node = isSessionNode(argument) ? argument : await pickConversation(conversations, "Resume a conversation");
  if (node === undefined) {
    return;
  }
  const { sessionId, source } = node.session;
  const mayLeave = source !== null && argument !== "chat";
  const program = mayLeave ? toOwnProgram(await server.request("session/resumeCommand", { sessionId })) : undefined;
  const way = program === undefined ? "here" : await pickWay(node.session, program);
  if (way === "here") {
    const { session } = await conversations.open({ workspace: node.folder, sessionId });
    await transcripts.show({ ...node, session }, true);
    await openChat();
  } else if (way === "program" && program !== undefined) {
    await startInTerminal(program);
  }
}

/**
 * Go on with a conversation that a transcript shows: in a fork if another window has it open, and each goes its own way.
 */
async function goOnHere(components: Components, node: unknown): Promise<void> {
  const { conversations } = components;
  if (!isSessionNode(node)) {
    return;
  }
  const { folder, session: { sessionId } } = node;
  if (conversations.getCurrent(folder)?.session.sessionId === sessionId) {
    if (!(await openChat())) {
      void vscode.window.showInformationMessage("Segue: There is no language model in VS Code that @segue can ask.");
    }
  } else if ((await conversations.lookUp(node)).isOpenElsewhere) {
    await fork(components, { kind: "point", folder, sessionId, at: null, question: "" });
  } else {
    await resumeConversation(components, node);
  }
}

/** Open the chat view with `@segue` typed in, if any language model is available there; returns whether one is. */
async function openChat(): Promise<boolean> {
  const models = await vscode.lm.selectChatModels();
  if (models.length > 0) {
    await vscode.commands.executeCommand("workbench.action.chat.open", { query: "@segue ", isPartialQuery: true });
  }
  return models.length > 0;
}

/** *argument* is a text to search for everywhere; without one, the user types it. */
function searchConversations({ server, transcripts }: Components, argument?: unknown): void {
  const text = typeof argument === "string" ? argument : undefined;
  showSearch(server.request, (hit) => openHit(transcripts, hit, false), text);
}

function openHit(transcripts: TranscriptPanels, hit: Hit, preserveFocus: boolean): Promise<void> {
  const folder = hit.folder ?? getActiveFolder();
  const node: SessionNode = { kind: "session", folder, session: hit.session };
  return preserveFocus ? transcripts.preview(node, hit) : transcripts.show(node, false, hit);
}

async function showTranscript(components: Components, argument?: unknown): Promise<void> {
  const node = isSessionNode(argument) ? argument : await getCurrentOrPick(components, "Show the transcript of");
  if (node !== undefined) {
    await components.transcripts.show(node);
  }
}

/** What Enter does in the view: open what its row stands for, and go there. */
async function openRow({ transcripts, view }: Components, argument?: unknown): Promise<void> {
  const node = getRow(argument) as Node | undefined;
  switch (node?.kind) {
    case "session":
      await vscode.commands.executeCommand("segue.showTranscript", node);
      break;
    case "hit":
      await openHit(transcripts, node.hit, false);
      break;
    case "more":
      await view.loadMore(node.folder);
      break;
    default:
      await vscode.commands.executeCommand("list.select"); // expands or collapses it
  }
}

/** The transcript or conversation that a command was given, else the open transcript, or the current or a picked one. */
async function getExportable(components: Components, argument: unknown): Promise<Exportable | undefined> {
  return isSessionNode(argument)
    ? argument
    : (components.transcripts.findConversation() ?? getCurrentOrPick(components, "Export"));
}

/** Let the user pick a turn of the conversation that a command was given, else of the current or a picked one. */
async function pickPoint(
  components: Components,
  argument: unknown,
  verb: string,
  pick: typeof pickForkPoint,
): Promise<ForkPoint | undefined> {
  const node = isSessionNode(argument) ? argument : await getCurrentOrPick(components, verb);
  return node === undefined ? undefined : pick(components.conversations, node.folder, node.session);
}

async function fork({ conversations, transcripts }: Components, point: ForkPoint | undefined): Promise<void> {
  if (point !== undefined) {
    const { session } = await conversations.forkInto(point.folder, point.sessionId, { at: point.at });
    await transcripts.show({ kind: "session", folder: point.folder, session });
    await openChat();
  }
}

async function goBack({ conversations, transcripts }: Components, point: ForkPoint | undefined): Promise<void> {
  if (point === undefined) {
    return;
  }
  const goneBack = await conversations.goBack(point.folder, point.sessionId, point.at);
  void offerUndo(point, goneBack);
  await transcripts.show({ kind: "session", folder: point.folder, session: goneBack.fork });
  await openChat();
}

async function offerUndo(point: ForkPoint, goneBack: GoneBack): Promise<void> {
  const message = escapeMessage(`Segue: ${describeGoBack(point)}`);
  if ((await vscode.window.showInformationMessage(message, "Undo")) === "Undo") {
    await vscode.commands.executeCommand("segue.undoGoBack", goneBack);
  }
}

/**
 * Do something to the conversation of the row that a command was given, and go on in the view; without a row, to the
 * current or a picked conversation. *work* resolves with whether that takes the row away.
 */
async function workOn(
  components: Components,
  argument: unknown,
  verb: string,
  work: (node: SessionNode) => Promise<boolean>,
): Promise<void> {
  const row = Array.isArray(argument) ? getRow(argument) : argument;
  if (isSessionNode(row)) {
    await components.view.workOnRow(row, () => work(row));
  } else if (!Array.isArray(argument)) {
    const node = await getCurrentOrPick(components, verb);
    await (node && work(node));
  }
}

/** The row that has the keyboard: a key gives it in a list. */
function getRow(argument: unknown): unknown {
  const row: unknown = Array.isArray(argument) ? argument[0] : argument;
  return (row as Partial<Node> | null | undefined)?.kind === undefined ? undefined : row;
}

function renameConversation(components: Components, argument?: unknown): Promise<void> {
  return workOn(components, argument, "Rename", async ({ session }) => {
    const title = session.title ?? "";
    const typed = await vscode.window.showInputBox({
      title: "Rename Conversation",
      prompt: "Leave it empty for the automatic title.",
      value: title,
      validateInput: (value) => ([...value.trim()].length > MAX_TITLE_LENGTH ? `At most ${MAX_TITLE_LENGTH} characters.` : undefined),
    });
    if (typed !== undefined && typed.trim() !== title) {
      await components.conversations.setTitle(session.sessionId, typed.trim() || null);
    }
    return false;
  });
}

function archiveConversation(components: Components, argument?: unknown): Promise<void> {
  return workOn(components, argument, "Archive", async ({ session }) => {
    await components.conversations.archive(session.sessionId);
    return !components.view.showsArchived;
  });
}

function deleteConversation(components: Components, argument?: unknown): Promise<void> {
  return workOn(components, argument, "Delete", async ({ session }) => {
    const answer = await vscode.window.showWarningMessage(
      "Delete this conversation?",
      { modal: true, detail: `“${escapeMessage(formatTitle(session))}”\n${formatCount(session.eventCount, "event")} will be deleted permanently.` },
      "Delete",
    );
    if (answer !== "Delete") {
      return false;
    }
    await components.conversations.delete(session.sessionId);
    return true;
  });
}

async function showDatabaseLocation({ server }: Components): Promise<void> {
  const database = await server.getDatabase();
  if (database === undefined) {
    void vscode.window.showInformationMessage("The Segue server does not report where its database is.");
    return;
  }
  const uri = vscode.Uri.file(database);
  const choice = await vscode.window.showInformationMessage(
    escapeMessage(`Your conversations are stored in ${database}`),
    "Copy Path",
    "Open Folder",
  );
  if (choice === "Copy Path") {
    await vscode.env.clipboard.writeText(database);
  } else if (choice === "Open Folder") {
    await vscode.commands.executeCommand("revealFileInOS", uri);
  }
}

/** The conversation that the folder goes on with if it has events, else one that the user picks; undefined if none. */
async function getCurrentOrPick(
  { conversations, currentSessions }: Components,
  placeHolder: string,
): Promise<SessionNode | undefined> {
  const folder = getActiveFolder();
  const session = currentSessions.get(folder)?.session;
  return session !== undefined && session.eventCount > 0
    ? { kind: "session", folder, session }
    : pickConversation(conversations, placeHolder);
}

interface Item extends vscode.QuickPickItem {
  node?: SessionNode;
}

async function pickConversation(conversations: Conversations, placeHolder: string): Promise<SessionNode | undefined> {
  const folder = getActiveFolder();
  const items = conversations
    .list({ workspace: folder, archived: true, limit: 1_000 })
    .then(({ sessions }) => (sessions.length > 0 ? buildItems(folder, sessions) : [{ label: "No conversation of this workspace is recorded yet." }]));
  const picked = await vscode.window.showQuickPick<Item>(items, {
    placeHolder,
    title: "Segue",
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return picked?.node;
}

function buildItems(folder: string, sessions: readonly Session[]): Item[] {
  const item = (session: Session): Item => ({
    label: escapeLabel(formatTitle(session)),
    description: [formatAge(session.updatedAt), formatCount(session.eventCount, "event"), ...nameSpeakers(session).map(escapeLabel)].join(" · "),
    node: { kind: "session", folder, session },
  });
  const open = sessions.filter(({ archivedAt }) => archivedAt === null);
  const archived = sessions.filter(({ archivedAt }) => archivedAt !== null);
  const separator: Item = { label: "Archived", kind: vscode.QuickPickItemKind.Separator };
  return [...open.map(item), ...(archived.length > 0 ? [separator, ...archived.map(item)] : [])];
}

function isGoneBack(value: unknown): value is GoneBack {
  return (value as Partial<GoneBack> | undefined)?.original !== undefined;
}

function isSessionNode(value: unknown): value is SessionNode {
  return (value as Partial<SessionNode> | undefined)?.kind === "session";
}
