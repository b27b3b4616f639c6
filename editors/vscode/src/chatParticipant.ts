// The chat participant `@segue`: asks the selected language model, with the resumed conversation as context and the tools
// of VS Code, and records question and answer.

import * as vscode from "vscode";
import type { Appended, AppendOptions } from "../segue";
import { type Conversations, getActiveFolder, type GoneBack } from "./conversations";
import { describeGoBack, type ForkPoint, pickForkPoint, pickGoBackPoint } from "./forks";
import { escapeMarkdown, escapeMessage, formatAge, formatCount, formatTitle, singleLine } from "./format";
import { buildMessages, countCharacters, type MessagePart, type ModelMessage } from "./modelMessages";
import type { Boundary, Event, NewEvent } from "./protocol";
import { answerWithTools, chooseTools, type ToolChoice } from "./toolRounds";

/** A conservative estimate: a token is about four characters of English, and fewer of code. */
const CHARACTERS_PER_TOKEN = 3;
const HISTORY_LENGTH = 10;
const PAGE_SIZE = 1_000;
/** The name of the participant, for the record of who answered. */
const AGENT = "@segue";
/** Characters that the server takes for the name of a model. */
const MAX_MODEL_LENGTH = 200;

/** Registers the participant and answers its requests. */
export class ChatParticipant implements vscode.Disposable {
  private readonly participant: vscode.ChatParticipant;

  constructor(
    extension: vscode.Uri,
    private readonly conversations: Conversations,
    private readonly log: vscode.LogOutputChannel,
  ) {
    this.participant = vscode.chat.createChatParticipant("segue.chat", (request, _, stream, token) =>
      this.respond(request, stream, token),
    );
    this.participant.iconPath = vscode.Uri.joinPath(extension, "media", "segue.png");
  }

  /** Unregister the participant. */
  dispose(): void {
    this.participant.dispose();
  }

  private async respond(
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const folder = getActiveFolder();
    let goneBack: GoneBack | undefined;
    switch (request.command) {
      case "new":
        await this.startNew(folder, stream);
        break;
      case "history":
        return this.showHistory(folder, stream);
      case "resume":
        await vscode.commands.executeCommand("segue.resume", "chat");
        if (request.prompt.trim() === "") {
          this.showResumed(folder, stream);
        }
        break;
      case "fork":
        if (!(await this.fork(folder, stream))) {
          return;
        }
        break;
      case "back":
        goneBack = await this.goBack(folder, stream);
        if (goneBack === undefined) {
          return;
        }
        break;
    }
    try {
      if (request.prompt.trim() !== "") {
        await this.answer(folder, request, stream, token);
      }
    } finally {
      if (goneBack !== undefined) {
        // At the end: the chat view folds up what precedes a button.
        stream.button({ command: "segue.undoGoBack", title: "Undo Go Back", arguments: [goneBack] });
      }
    }
  }

  private async startNew(folder: string, stream: vscode.ChatResponseStream): Promise<void> {
    const isArchived = await this.conversations.startNew(folder);
    stream.markdown(`New conversation.${isArchived ? " The previous one is archived." : ""}\n\n`);
  }

  /** Go on in a fork from a turn that the user picks. Returns whether the user has picked one. */
  private async fork(folder: string, stream: vscode.ChatResponseStream): Promise<boolean> {
    const point = await this.pick(folder, stream, pickForkPoint);
    if (point === undefined) {
      return false;
    }
    const { session } = await this.conversations.forkInto(folder, point.sessionId, { at: point.at });
    stream.markdown(`This conversation goes on in “${escapeMarkdown(formatTitle(session))}”.\n\n`);
    return true;
  }

  /** Go back to a turn that the user picks; undefined if the user picks none. */
  private async goBack(folder: string, stream: vscode.ChatResponseStream): Promise<GoneBack | undefined> {
    const point = await this.pick(folder, stream, pickGoBackPoint);
    if (point === undefined) {
      return undefined;
    }
    const goneBack = await this.conversations.goBack(folder, point.sessionId, point.at);
    stream.markdown(`${escapeMarkdown(describeGoBack(point))}\n\n`);
    return goneBack;
  }

  private async pick(
    folder: string,
    stream: vscode.ChatResponseStream,
    pick: typeof pickForkPoint,
  ): Promise<ForkPoint | undefined> {
    const { session } = await this.conversations.openCurrent(folder);
    if (session.eventCount === 0) {
      stream.markdown("This conversation is still empty.");
      return undefined;
    }
    return pick(this.conversations, folder, session);
  }

  private async showHistory(folder: string, stream: vscode.ChatResponseStream): Promise<void> {
    const { sessions } = await this.conversations.list({ workspace: folder, limit: HISTORY_LENGTH });
    const lines = sessions.map(
      (session) => `* ${escapeMarkdown(formatTitle(session))} (${formatAge(session.updatedAt)}, ${formatCount(session.eventCount, "event")})`,
    );
    stream.markdown(lines.join("\n") || "No conversation of this workspace is recorded yet.");
    if (lines.length > 0) {
      stream.button({ command: "segue.resume", title: "Resume Conversation…" });
    }
  }

  private showResumed(folder: string, stream: vscode.ChatResponseStream): void {
    const current = this.conversations.getCurrent(folder);
    if (current?.lastActiveBeforeResume !== undefined) {
      const name = escapeMarkdown(formatTitle(current.session));
      stream.markdown(`Resumed **${name}**, last active ${formatAge(current.lastActiveBeforeResume)}.\n\n`);
    }
  }

  private async answer(
    folder: string,
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const tools = chooseTools(request, vscode.workspace.getConfiguration("segue").get<ToolChoice>("tools", "all"));
    const { sessionId, isKept, messages } = await this.recordQuestion(folder, request, stream, tools);
    let isTold = isKept;
    await answerWithTools({
      request,
      stream,
      token,
      messages,
      tools,
      // It belongs to the session of the question, whatever is the current one by now.
      record: async (events) => {
        const stored = await this.record(sessionId, events, request.model);
        if (stored === undefined && !isTold) {
          isTold = true;
          this.showKept(stream);
        }
      },
    });
  }

  private showKept(stream: vscode.ChatResponseStream): void {
    const { reason } = this.conversations.unsent;
    stream.markdown(`\n\n*Not stored yet; it is kept and sent again. ${escapeMarkdown(singleLine(reason ?? ""))}*\n\n`);
  }

  /**
   * Record the question and build the request to the model. Resolves when the question is on disk; if it cannot be
   * stored for now, the user is told, and it is kept.
   */
  private async recordQuestion(
    folder: string,
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
    tools: readonly vscode.LanguageModelToolInformation[],
  ): Promise<{ sessionId: string; isKept: boolean; messages: vscode.LanguageModelChatMessage[] }> {
    const opened = await this.conversations.openCurrent(folder);
    this.showResumed(folder, stream);
    const attachments = await this.readAttachments(request.references);
    const question = [request.prompt, ...attachments].join("\n\n");
    const budget = request.model.maxInputTokens * CHARACTERS_PER_TOKEN - question.length;
    const events = await this.loadContext(opened, budget);
    const event = { type: "user_message", data: { content: request.prompt } };
    const stored = await this.record(opened.session.sessionId, [event], request.model);
    if (stored === undefined) {
      this.showKept(stream);
    }
    const earlier = buildMessages(events, budget, new Set(tools.map(({ name }) => name)));
    const messages = [...earlier.map(toVscodeMessage), vscode.LanguageModelChatMessage.User(question)];
    const { sessionId } = stored ?? opened.session;
    return { sessionId, isKept: stored === undefined, messages };
  }

  /** Load the newest events, about *budget* characters of them, and the first ones; the boundary comes last. */
  private async loadContext(
    opened: { session: { sessionId: string }; events: Event[]; hasMore: boolean; boundary: Boundary | null },
    budget: number,
  ): Promise<Event[]> {
    const { sessionId } = opened.session;
    let { events, hasMore } = opened;
    while (hasMore && events[0] !== undefined && countCharacters(buildMessages(events, Number.POSITIVE_INFINITY)) < budget) {
      const page = await this.conversations.events(sessionId, { before: events[0].seq, limit: PAGE_SIZE });
      events = [...page.events, ...events];
      hasMore = page.hasMore;
    }
    if (hasMore) {
      const page = await this.conversations.events(sessionId, { after: 0 });
      const oldest = events[0]?.seq ?? Number.POSITIVE_INFINITY;
      events = [...page.events.filter(({ seq }) => seq < oldest), ...events];
    }
    return opened.boundary === null ? events : [...events, toEvent(opened.boundary, events)];
  }

  /**
   * Append events, and wait until they are stored, or kept because they cannot be stored for now; then the result is
   * undefined. If they can never be stored after all, the user is told.
   */
  private async record(
    sessionId: string,
    events: NewEvent[],
    model: vscode.LanguageModelChat,
  ): Promise<Appended | undefined> {
    let isKept = false;
    const appending = this.conversations.append(sessionId, events, describeSpeaker(model));
    appending.catch((error: Error) => {
      if (isKept) {
        const message = `Segue: A part of a chat cannot be stored: ${error.message}`;
        this.log.error(message);
        void vscode.window.showErrorMessage(escapeMessage(message));
      }
    });
    const stored = await this.conversations.untilStoredOrKept(appending);
    isKept = stored === undefined;
    return stored;
  }

  /** Read the files, selections and strings attached to a question. A file that cannot be read is named instead. */
  private readAttachments(references: readonly vscode.ChatPromptReference[]): Promise<string[]> {
    return Promise.all(
      references.map(async ({ value }) => {
        const uri = value instanceof vscode.Location ? value.uri : value;
        if (!(uri instanceof vscode.Uri)) {
          return typeof value === "string" ? value : "";
        }
        const name = vscode.workspace.asRelativePath(uri);
        try {
          const document = await vscode.workspace.openTextDocument(uri);
          const range = value instanceof vscode.Location ? value.range : undefined;
          return `${name}:\n\`\`\`\n${document.getText(range)}\n\`\`\``;
        } catch {
          return `(${name} cannot be read as text.)`;
        }
      }),
    );
  }
}

/** The boundary as the event that will follow *events* once it is stored. */
function toEvent(boundary: Boundary, events: readonly Event[]): Event {
  const last = events.at(-1);
  return { ...boundary, seq: (last?.seq ?? 0) + 1, parentId: last?.id ?? null, invocationId: "", createdAt: "" };
}

/** Who answers. The names are those of other extensions, and may be anything. */
function describeSpeaker({ name, id }: vscode.LanguageModelChat): AppendOptions {
  const model = [...singleLine(name || id)].slice(0, MAX_MODEL_LENGTH).join("").trim();
  return { agent: AGENT, model: model || null };
}

function toVscodeMessage({ role, parts }: ModelMessage): vscode.LanguageModelChatMessage {
  const { User, Assistant } = vscode.LanguageModelChatMessageRole;
  return new vscode.LanguageModelChatMessage(role === "user" ? User : Assistant, parts.map(toVscodePart));
}

function toVscodePart(part: MessagePart) {
  switch (part.kind) {
    case "text":
      return new vscode.LanguageModelTextPart(part.text);
    case "call":
      return new vscode.LanguageModelToolCallPart(part.id, part.name, part.input);
    case "result":
      return new vscode.LanguageModelToolResultPart(part.id, [new vscode.LanguageModelTextPart(part.text)]);
  }
}
