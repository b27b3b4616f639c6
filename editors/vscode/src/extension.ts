// Where the parts of the extension are put together.

import * as vscode from "vscode";
import type { SegueApi } from "../segue";
import { registerCommands } from "./commands";
import { Conversations } from "./conversations";
import { Transcripts } from "./documents";
import { Participant } from "./participant";
import { Server } from "./server";
import { Status } from "./status";
import { StoreWatcher } from "./store";
import { ConversationsView } from "./view";

/** An extension may take five seconds to end; the server takes at most two of them. */
const LAST_WORDS_MS = 2_500;

let end: (() => Promise<void>) | undefined;

export function activate(context: vscode.ExtensionContext): SegueApi {
  const log = vscode.window.createOutputChannel("Segue", { log: true });
  const server = new Server(context, log);
  const conversations = new Conversations(server);
  const transcripts = new Transcripts(conversations);
  const view = new ConversationsView(conversations);
  const watcher = new StoreWatcher(server, () => {
    view.refreshSoon();
    transcripts.refreshAll();
  });
  const watch = () => void watcher.set(view.isVisible);

  end = async () => {
    await Promise.race([conversations.settled(), new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS))]);
    await server.stop();
  };
  context.subscriptions.push(
    log,
    server,
    conversations,
    transcripts,
    view,
    watcher,
    new Status(conversations),
    new Participant(context.extensionUri, conversations, log),
    view.onDidChangeVisibility(watch),
    server.onDidStart(() => {
      watcher.dispose(); // it may have another database now
      watch();
    }),
    conversations.onDidAppend(watch),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("segue.server") || event.affectsConfiguration("segue.database")) {
        void server.restart();
      }
    }),
    ...registerCommands({ conversations, log, server, transcripts, view }),
  );
  return conversations;
}

export async function deactivate(): Promise<void> {
  await end?.();
}
