// The places in a conversation from which a user goes on in a fork.

import * as vscode from "vscode";
import type { Conversations } from "./conversations";
import { escapeLabel, formatAge, formatTitle } from "./format";
import type { Session } from "./protocol";
import { findTurns, type Turn } from "./turns";

/** Characters of a question in a message. */
const MAX_QUESTION_LENGTH = 40;

/** A place in a conversation: after one of its turns. */
export interface ForkPoint {
  kind: "point";
  /** The folder whose current conversation the fork becomes. */
  folder: string;
  sessionId: string;
  /** The last event of the turn; null: the last one of the conversation. */
  at: string | null;
  /** What was asked there. */
  question: string;
}

/** Whether a command's argument is a place in a conversation. */
export function isForkPoint(value: unknown): value is ForkPoint {
  return (value as Partial<ForkPoint> | undefined)?.kind === "point";
}

/** The place after a turn. */
export function toForkPoint(folder: string, sessionId: string, { question, last }: Turn): ForkPoint {
  return { kind: "point", folder, sessionId, at: last.id, question };
}

/** Let the user pick the turn that a fork ends with; undefined if the user cancels. */
export async function pickForkPoint(
  conversations: Conversations,
  folder: string,
  session: Session,
): Promise<ForkPoint | undefined> {
  const { sessionId } = session;
  const turns = findTurns(await conversations.loadNewest(sessionId));
  return turns.length === 0
    ? { kind: "point", folder, sessionId, at: null, question: "" }
    : pick(turns, folder, session, "The fork ends with the answer to");
}

/** Let the user pick the turn to go back to; undefined if the user cancels, or if there is no earlier turn. */
export async function pickGoBackPoint(
  conversations: Conversations,
  folder: string,
  session: Session,
): Promise<ForkPoint | undefined> {
  const turns = findTurns(await conversations.loadNewest(session.sessionId)).slice(0, -1);
  if (turns.length === 0) {
    void vscode.window.showInformationMessage("Segue: There is no earlier turn to go back to.");
    return undefined;
  }
  return pick(turns, folder, session, "Go back to the answer to");
}

/** One line for users about a conversation that went back to a place. */
export function describeGoBack({ question }: ForkPoint): string {
  return `Went back to “${formatTitle({ title: question }, MAX_QUESTION_LENGTH)}”. The conversation as it was is archived.`;
}

async function pick(
  turns: readonly Turn[],
  folder: string,
  session: Session,
  placeHolder: string,
): Promise<ForkPoint | undefined> {
  const items = turns.map((turn) => ({
    label: escapeLabel(formatTitle({ title: turn.question })),
    description: formatAge(turn.askedAt),
    point: toForkPoint(folder, session.sessionId, turn),
  }));
  const options = { placeHolder, title: `Segue: ${formatTitle(session)}` };
  return (await vscode.window.showQuickPick(items.reverse(), options))?.point;
}
