// The entry point: creates the components of the extension and connects them.

import * as vscode from "vscode";
import type { SegueApi } from "../segue";
import { ChatParticipant } from "./chatParticipant";
import { registerCommands } from "./commands";
import { Conversations } from "./conversations";
import { ConversationsView } from "./conversationsView";
import { DatabaseWatcher } from "./databaseWatcher";
import { Notices } from "./notices";
import { Server } from "./server";
import { StatusBar } from "./statusBar";
import { TranscriptDocuments } from "./transcriptDocuments";

/** VS Code allows five seconds for deactivation, of which stopping the server takes at most two. */
const DRAIN_TIMEOUT_MS = 2_500;

let shutDown: (() => Promise<void>) | undefined;

/** Called by VS Code once per window. Returns the API for other extensions. The first request starts the server. */
export function activate(context: vscode.ExtensionContext): SegueApi {
  const log = vscode.window.createOutputChannel("Segue", { log: true });
  const server = new Server(context, log);
  const conversations = new Conversations(server);
  const transcripts = new TranscriptDocuments(conversations);
  const view = new ConversationsView(conversations);
  const watcher = new DatabaseWatcher(server, () => {
    view.scheduleRefresh();
    transcripts.refreshAll();
  });
  const updateWatcher = () => void watcher.setActive(view.isVisible);

  shutDown = async () => {
    await Promise.race([conversations.drain(), new Promise((resolve) => setTimeout(resolve, DRAIN_TIMEOUT_MS))]);
    await server.stop();
  };
  context.subscriptions.push(
    log,
    server,
    conversations,
    transcripts,
    view,
    watcher,
    new StatusBar(conversations),
    new Notices(conversations, log),
    new ChatParticipant(context.extensionUri, conversations, log),
    view.onDidChangeVisibility(updateWatcher),
    server.onDidStart(() => {
      watcher.dispose(); // the new server may use another database
      updateWatcher();
    }),
    conversations.onDidAppend(updateWatcher),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("segue.server") || event.affectsConfiguration("segue.database")) {
        void server.restart();
      }
    }),
    ...registerCommands({ conversations, log, server, transcripts, view }),
  );
  return conversations;
}

/** Called by VS Code when the window closes: waits for pending appends, then stops the server. */
export async function deactivate(): Promise<void> {
  await shutDown?.();
}
