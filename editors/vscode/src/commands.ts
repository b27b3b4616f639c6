// Every command, by its id.

import * as vscode from "vscode";
import { activeFolder, type Conversations } from "./conversations";
import type { Transcripts } from "./documents";
import type { Session } from "./protocol";
import type { Server } from "./server";
import type { ConversationsView, SessionNode } from "./view";
import { age, count, plainLabel, title } from "./words";

export interface Parts {
  conversations: Conversations;
  log: vscode.LogOutputChannel;
  server: Server;
  transcripts: Transcripts;
  view: ConversationsView;
}

type Command = (parts: Parts, argument?: unknown) => unknown;

const COMMANDS: { [id: string]: Command } = {
  "segue.new": ({ conversations }) => conversations.begin(activeFolder()),
  "segue.resume": resume,
  "segue.showTranscript": showTranscript,
  "segue.archive": archive,
  "segue.unarchive": async ({ conversations }, node) => {
    if (isNode(node)) {
      await conversations.unarchive(node.session.sessionId);
    }
  },
  "segue.delete": remove,
  "segue.copyId": async (_, node) => {
    if (isNode(node)) {
      await vscode.env.clipboard.writeText(node.session.sessionId);
    }
  },
  "segue.refresh": ({ view }) => view.refresh(),
  "segue.loadMore": ({ view }, folder) => view.loadMore(String(folder)),
  "segue.showArchived": ({ view }) => view.showArchived(true),
  "segue.hideArchived": ({ view }) => view.showArchived(false),
  "segue.showLog": ({ log }) => log.show(),
  "segue.showData": showData,
  "segue.restart": ({ server }) => server.restart(),
};

/** Register all commands; a failure of one is shown, never swallowed. */
export function registerCommands(parts: Parts): vscode.Disposable[] {
  return Object.entries(COMMANDS).map(([id, command]) =>
    vscode.commands.registerCommand(id, async (argument?: unknown) => {
      try {
        await command(parts, argument);
      } catch (error) {
        void vscode.window.showErrorMessage(`Segue: ${(error as Error).message}`);
      }
    }),
  );
}

async function resume({ conversations }: Parts, argument?: unknown): Promise<void> {
  const node = isNode(argument) ? argument : await pick(conversations, "Resume a conversation");
  if (node !== undefined) {
    await conversations.open({ workspace: node.folder, sessionId: node.session.sessionId });
    await offerChat();
  }
}

/** Where a language model is, the conversation goes on in the chat view. */
async function offerChat(): Promise<void> {
  const models = await vscode.lm.selectChatModels();
  if (models.length > 0) {
    await vscode.commands.executeCommand("workbench.action.chat.open", { query: "@segue ", isPartialQuery: true });
  }
}

async function showTranscript({ conversations, transcripts }: Parts, argument?: unknown): Promise<void> {
  const node = isNode(argument) ? argument : await chosen(conversations, "Show the transcript of");
  if (node !== undefined) {
    await transcripts.show(node.session);
  }
}

async function archive({ conversations }: Parts, argument?: unknown): Promise<void> {
  const node = isNode(argument) ? argument : await chosen(conversations, "Archive");
  if (node !== undefined) {
    await conversations.archive(node.session.sessionId);
  }
}

async function remove({ conversations }: Parts, argument?: unknown): Promise<void> {
  const node = isNode(argument) ? argument : await chosen(conversations, "Delete");
  if (node === undefined) {
    return;
  }
  const { session } = node;
  const answer = await vscode.window.showWarningMessage(
    "Delete this conversation?",
    { modal: true, detail: `“${title(session)}”\n${count(session.eventCount, "event")} will be removed for good.` },
    "Delete",
  );
  if (answer === "Delete") {
    await conversations.delete(session.sessionId);
  }
}

async function showData({ server }: Parts): Promise<void> {
  const database = await server.database();
  if (database === undefined) {
    void vscode.window.showInformationMessage("Segue's server does not say where it keeps its data.");
    return;
  }
  const uri = vscode.Uri.file(database);
  const choice = await vscode.window.showInformationMessage(
    `Your conversations are kept in ${database}`,
    "Copy Path",
    "Open Folder",
  );
  if (choice === "Copy Path") {
    await vscode.env.clipboard.writeText(database);
  } else if (choice === "Open Folder") {
    await vscode.commands.executeCommand("revealFileInOS", uri);
  }
}

/** The current conversation, else the one that the person picks. */
async function chosen(conversations: Conversations, what: string): Promise<SessionNode | undefined> {
  const folder = activeFolder();
  const session = conversations.current(folder)?.session;
  return session !== undefined && session.eventCount > 0
    ? { kind: "session", folder, session }
    : pick(conversations, what);
}

interface Item extends vscode.QuickPickItem {
  node?: SessionNode;
}

async function pick(conversations: Conversations, placeHolder: string): Promise<SessionNode | undefined> {
  const folder = activeFolder();
  const items = conversations
    .list({ workspace: folder, archived: true, limit: 1_000 })
    .then(({ sessions }) => itemsOf(folder, sessions));
  const picked = await vscode.window.showQuickPick<Item>(items, {
    placeHolder,
    title: "Segue",
    matchOnDescription: true,
    matchOnDetail: true,
  });
  return picked?.node;
}

function itemsOf(folder: string, sessions: readonly Session[]): Item[] {
  const item = (session: Session): Item => ({
    label: plainLabel(title(session)),
    description: `${age(session.updatedAt)} · ${session.eventCount.toLocaleString("en")}`,
    node: { kind: "session", folder, session },
  });
  const open = sessions.filter(({ archivedAt }) => archivedAt === null);
  const archived = sessions.filter(({ archivedAt }) => archivedAt !== null);
  const separator: Item = { label: "Archived", kind: vscode.QuickPickItemKind.Separator };
  return [...open.map(item), ...(archived.length > 0 ? [separator, ...archived.map(item)] : [])];
}

function isNode(value: unknown): value is SessionNode {
  return (value as Partial<SessionNode> | undefined)?.kind === "session";
}
