// Renders a conversation as Markdown. Nothing in it can become a link that runs a command.

import { formatCount, formatLocalTime, formatTitle } from "./format";
import type { Event, Session } from "./protocol";
import { isKnownEventType } from "./requests";
import { codeLine, escapeLine, restrictLinks } from "./safeMarkdown";

/** Characters of the name of a tool or an event type. */
const MAX_NAME_LENGTH = 120;

/** A conversation as Markdown. */
export interface Transcript {
  text: string;
  /** The number of the empty line with which each event ends; the first line is 0. */
  ends: number[];
}

/** Render a transcript from the newest *events* of a session, oldest first; *omitted* counts the older ones. */
export function renderTranscript(session: Pick<Session, "title">, events: readonly Event[], omitted: number): Transcript {
  const older = omitted > 0 ? `*${formatCount(omitted, "older event")} left out.*\n\n` : "";
  const head = `# ${escapeLine(formatTitle(session))}\n\n${older}`;
  const parts = events.map((event, index) => `${index === 0 ? "" : "\n"}${renderEvent(event)}`);
  let line = countLineBreaks(head);
  return { text: head + parts.join(""), ends: parts.map((part) => (line += countLineBreaks(part))) };
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
      return ["Plan", codeBlock(data["entries"], "json")];
    case "permission":
      return [`Permission: ${inlineCode(data["outcome"])}`, codeBlock(event.data, "json")];
    case "turn_end":
      return [`End of turn: ${inlineCode(data["stop_reason"])}`, codeBlock(event.data, "json")];
  }
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
