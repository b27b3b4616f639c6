// `@segue` in the chat view: the model that the person picked, with the resumed conversation before it.

import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import { activeFolder } from "./conversations";
import { type Boundary, type Event, isKind, type NewEvent } from "./protocol";
import { answerOf, type Message, messagesOf } from "./turns";
import { age, count, plainMarkdown, title } from "./words";

/** A token is four characters of English, fewer of code: three leave room for the rest. */
const CHARACTERS_PER_TOKEN = 3;
const LISTED = 10;
const PAGE = 1_000;

export class Participant implements vscode.Disposable {
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

  dispose(): void {
    this.participant.dispose();
  }

  private async respond(
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const folder = activeFolder();
    switch (request.command) {
      case "new":
        await this.begin(folder, stream);
        break;
      case "history":
        return this.history(folder, stream);
      case "resume":
        await vscode.commands.executeCommand("segue.resume");
        if (request.prompt.trim() === "") {
          this.sayCurrent(folder, stream);
        }
        break;
    }
    if (request.prompt.trim() !== "") {
      await this.answer(folder, request, stream, token);
    }
  }

  private async begin(folder: string, stream: vscode.ChatResponseStream): Promise<void> {
    const isArchived = await this.conversations.begin(folder);
    stream.markdown(`A new conversation.${isArchived ? " The one before is archived." : ""}\n\n`);
  }

  private async history(folder: string, stream: vscode.ChatResponseStream): Promise<void> {
    const { sessions } = await this.conversations.list({ workspace: folder, limit: LISTED });
    const lines = sessions.map(
      (session) => `* ${plainMarkdown(title(session))} (${age(session.updatedAt)}, ${count(session.eventCount, "event")})`,
    );
    stream.markdown(lines.join("\n") || "No conversation of this workspace is kept yet.");
    if (lines.length > 0) {
      stream.button({ command: "segue.resume", title: "Resume Conversation…" });
    }
  }

  private sayCurrent(folder: string, stream: vscode.ChatResponseStream): void {
    const current = this.conversations.current(folder);
    if (current?.continuedAfter !== undefined) {
      const name = plainMarkdown(title(current.session));
      stream.markdown(`Continued **${name}**, last active ${age(current.continuedAfter)}.\n\n`);
    }
  }

  private async answer(
    folder: string,
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
    token: vscode.CancellationToken,
  ): Promise<void> {
    const { model } = request;
    const { sessionId, messages } = await this.asked(folder, request, stream);
    let answer = "";
    try {
      const response = await model.sendRequest(messages, {}, token);
      for await (const part of response.text) {
        answer += part;
        stream.markdown(part);
      }
    } finally {
      // Whatever ends the answer, what was said of it is kept.
      if (answer !== "") {
        await this.record(sessionId, answerOf(answer, model));
      }
    }
  }

  /** Record the question; return what the model is to be asked. The question is on disk then. */
  private async asked(
    folder: string,
    request: vscode.ChatRequest,
    stream: vscode.ChatResponseStream,
  ): Promise<{ sessionId: string; messages: vscode.LanguageModelChatMessage[] }> {
    const current = this.conversations.current(folder)?.session.sessionId;
    const opened = await this.conversations.open({
      workspace: folder,
      ...(current === undefined ? {} : { sessionId: current }),
    });
    this.sayCurrent(folder, stream);
    const attached = await this.attached(request.references);
    const question = [request.prompt, ...attached].join("\n\n");
    const budget = request.model.maxInputTokens * CHARACTERS_PER_TOKEN - question.length;
    const events = await this.eventsFor(opened, budget);
    const { sessionId } = await this.record(opened.session.sessionId, {
      type: "user_message",
      data: { content: request.prompt },
    });
    const messages = [...messagesOf(events, budget), { role: "user" as const, text: question }];
    return { sessionId, messages: messages.map(forModel) };
  }

  /** The newest events that may fit, and the first ones; the boundary stands at the end. */
  private async eventsFor(
    opened: { session: { sessionId: string }; events: Event[]; hasMore: boolean; boundary: Boundary | null },
    budget: number,
  ): Promise<Event[]> {
    const { sessionId } = opened.session;
    let { events, hasMore } = opened;
    while (hasMore && events[0] !== undefined && sizeOf(events) < budget) {
      const page = await this.conversations.events(sessionId, { before: events[0].seq, limit: PAGE });
      events = [...page.events, ...events];
      hasMore = page.hasMore;
    }
    if (hasMore) {
      const page = await this.conversations.events(sessionId, { after: 0 });
      const oldest = events[0]?.seq ?? Number.POSITIVE_INFINITY;
      events = [...page.events.filter(({ seq }) => seq < oldest), ...events];
    }
    return opened.boundary === null ? events : [...events, afterLast(events, opened.boundary)];
  }

  /** Append, also behind what another window has added meanwhile: a chat turn can follow anything. */
  private async record(sessionId: string, event: NewEvent): Promise<{ sessionId: string }> {
    try {
      return await this.conversations.append(sessionId, [event]);
    } catch (error) {
      if (!isKind(error, "HeadMoved")) {
        throw error;
      }
      this.log.info(`Another window has added to ${sessionId}; this one goes on behind it.`);
      await this.conversations.open({ sessionId });
      return this.conversations.append(sessionId, [event]);
    }
  }

  /** What the person attached, as text; what cannot be read is named. */
  private attached(references: readonly vscode.ChatPromptReference[]): Promise<string[]> {
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

function afterLast(events: readonly Event[], boundary: Boundary): Event {
  const last = events.at(-1);
  return { ...boundary, seq: (last?.seq ?? 0) + 1, parentId: last?.id ?? null, invocationId: "", createdAt: "" };
}

function sizeOf(events: readonly Event[]): number {
  return messagesOf(events, Number.POSITIVE_INFINITY).reduce((sum, { text }) => sum + text.length, 0);
}

function forModel({ role, text }: Message): vscode.LanguageModelChatMessage {
  return role === "user"
    ? vscode.LanguageModelChatMessage.User(text)
    : vscode.LanguageModelChatMessage.Assistant(text);
}
