// The entry point: creates the components of the extension and connects them.

import * as vscode from "vscode";
import type { SegueApi } from "../segue";
import { ChatParticipant } from "./chatParticipant";
import { registerCommands } from "./commands";
import { Conversations } from "./conversations";
import { ConversationsView } from "./conversationsView";
import { CurrentSessions } from "./currentSessions";
import { Following } from "./following";
import { ImportWatcher } from "./importWatcher";
import { Notices } from "./notices";
import { SearchBox } from "./searchBox";
import { Server } from "./server";
import { StatusBar } from "./statusBar";
import { TranscriptPanels } from "./transcriptPanels";

/** VS Code allows five seconds for deactivation, of which stopping the server takes at most two. */
const DRAIN_TIMEOUT_MS = 2_500;

let shutDown: (() => Promise<void>) | undefined;

/**
 * Called by VS Code once per window, soon after it was opened. Returns the API for other extensions. The first request
 * starts the server: where conversations may be stored, that which asks what each folder goes on with.
 */
export function activate(context: vscode.ExtensionContext): SegueApi {
  const log = vscode.window.createOutputChannel("Segue", { log: true });
  const server = new Server(context, log);
  const conversations = new Conversations(server);
  const transcripts = new TranscriptPanels(context.extensionUri, conversations);
  const currentSessions = new CurrentSessions(conversations, server);
  const view = new ConversationsView(conversations, currentSessions, server.request);
  const searchBox = new SearchBox(view);
  const following = new Following(server, () => ({ lists: view.isVisible, sessions: transcripts.knownSeqs }));
  const importWatcher = new ImportWatcher(context, server, log);

  shutDown = async () => {
    await Promise.race([conversations.drain(), new Promise((resolve) => setTimeout(resolve, DRAIN_TIMEOUT_MS))]);
    await server.stop();
  };
  context.subscriptions.push(
    log,
    server,
    conversations,
    transcripts,
    currentSessions,
    view,
    searchBox,
    following,
    new StatusBar(conversations, currentSessions),
    new Notices(conversations, log),
    importWatcher,
    new ChatParticipant(context.extensionUri, conversations, log),
    view.onDidChangeVisibility(() => following.update()),
    transcripts.onDidChangeOpen(() => following.update()),
    server.onDidChangeList(() => view.scheduleRefresh()),
    server.onDidStart(() => view.scheduleRefresh()),
    server.onDidAppend((appended) => transcripts.handleAppended(appended)),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("segue.server") || event.affectsConfiguration("segue.database")) {
        server.restart().catch(() => server.showFailure());
      }
    }),
    ...registerCommands({ conversations, currentSessions, importWatcher, log, searchBox, server, transcripts, view }),
  );
  return conversations;
}

/** Called by VS Code when the window closes: waits for pending appends, then stops the server. */
export async function deactivate(): Promise<void> {
  await shutDown?.();
}
