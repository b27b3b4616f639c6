// Renders a conversation as Markdown. Nothing in it can become a link that runs a command.

import { formatCount, formatLocalTime, formatTitle } from "./format";
import { groupPieces, joinPieces } from "./pieces";
import type { Event, Session } from "./protocol";
import { isKnownEventType } from "./requests";
import { codeLine, escapeLine, restrictLinks } from "./safeMarkdown";

/** Characters of the name of a tool or an event type. */
const MAX_NAME_LENGTH = 120;

/** A conversation as Markdown. */
export interface Transcript {
  text: string;
  /** The number of the line with the heading of each event, or of its message. */
  starts: number[];
  /** The number of the empty line with which each event ends, or its message; the first line is 0. */
  ends: number[];
}

/** Render a transcript from *events* of a session, oldest first; *omitted* and *newer* count those before and after. */
export function renderTranscript(
  session: Pick<Session, "title">,
  events: readonly Event[],
  omitted: number,
  newer = 0,
): Transcript {
  const older = omitted > 0 ? `*${formatCount(omitted, "older event")} left out.*\n\n` : "";
  const tail = newer > 0 ? `\n*${formatCount(newer, "newer event")} left out.*\n` : "";
  const head = `# ${escapeLine(formatTitle(session))}\n\n${older}`;
  const groups = groupPieces(events);
  const parts = groups.map((pieces, index) => `${index === 0 ? "" : "\n"}${renderEvent(joinPieces(pieces))}`);
  let line = countLineBreaks(head);
  const ends = parts.map((part) => (line += countLineBreaks(part)));
  const starts = [countLineBreaks(head), ...ends.map((end) => end + 1)];
  const ofEvents = (lines: readonly number[]) => groups.flatMap((pieces, index) => pieces.map(() => lines[index] ?? line));
  return { text: head + parts.join("") + tail, starts: ofEvents(starts), ends: ofEvents(ends) };
}

function countLineBreaks(text: string): number {
  return text.split("\n").length - 1;
}

function renderEvent(event: Event): string {
  const [heading, body] = renderParts(event);
  return `## ${heading} · ${formatLocalTime(event.createdAt)}\n\n${body}\n`;
}

function renderParts(event: Event): [heading: string, body: string] {
  const { type } = event;
  if (!isKnownEventType(type)) {
    return [inlineCode(type), codeBlock(event.data, "json")];
  }
  const data = toFields(event);
  switch (type) {
    case "user_message":
      return ["You", restrictLinks(toText(data["content"]))];
    case "text":
      return ["Assistant", restrictLinks(toText(data["content"]))];
    case "tool_call":
      return [`Tool call: ${inlineCode(data["name"])}`, codeBlock(data["input"], "json")];
    case "tool_result":
      return [data["is_error"] === true ? "Tool result: error" : "Tool result", codeBlock(data["content"])];
    case "skill_invocation":
      return [`Skill: ${inlineCode(data["name"])}`, restrictLinks(toText(data["content"]))];
    case "system_context":
      return ["Context", quote(restrictLinks(toText(data["content"])))];
    case "out_of_band_output":
      return [`Output: ${inlineCode(data["name"])}`, codeBlock(data["content"])];
    case "thinking":
      return ["Thinking", quote(restrictLinks(toText(data["content"])))];
    case "plan":
      return ["Plan", renderPlan(data["entries"])];
    case "permission":
      return [`Permission: ${inlineCode(data["option"] ?? data["outcome"])}`, ""];
    case "turn_end":
      return [`End of turn: ${inlineCode(data["stop_reason"])}`, data["error"] ? quote(restrictLinks(toText(data["error"]))) : ""];
  }
}

/** The entries of a plan as a task list. */
function renderPlan(entries: unknown): string {
  const items = Array.isArray(entries) ? entries : [];
  return items.map((entry: unknown) => {
    const fields: { content?: unknown; status?: unknown } = entry !== null && typeof entry === "object" ? entry : { content: entry };
    return `- [${fields.status === "completed" ? "x" : " "}] ${escapeLine(toText(fields.content).replace(/\s+/g, " "))}`;
  }).join("\n");
}

/** The fields of an event's data; a corrupt event's string becomes the field `content`. */
function toFields(event: Event): { [key: string]: unknown } {
  return event.data !== null && typeof event.data === "object" ? { ...event.data } : { content: event.data };
}

function toText(value: unknown): string {
  return (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "").replace(/\r\n?/g, "\n");
}

/** A code block with a fence longer than any run of backticks that starts a line of its content. */
function codeBlock(value: unknown, language = ""): string {
  const content = toText(value);
  const longest = Math.max(2, ...[...content.matchAll(/^\s*(`+)/gm)].map((match) => match[1]?.length ?? 0));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${content}\n${fence}`;
}

function inlineCode(value: unknown): string {
  return codeLine(formatTitle({ title: toText(value) }, MAX_NAME_LENGTH));
}

function quote(markdown: string): string {
  // Behind `> ` a tab is narrower: an indented fence could begin or end there that was none before.
  const lines = markdown.split("\n").map((line) => line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    ")));
  return lines.map((line) => (line === "" ? ">" : `> ${line}`)).join("\n");
}
