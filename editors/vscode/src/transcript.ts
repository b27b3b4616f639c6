// A conversation as Markdown that can be read, and do nothing else.

import type { Event, Session } from "./protocol";
import { count, localTime, title } from "./words";

/** The transcript of a session; *events* are its newest, *left* as many are older. */
export function transcript(session: Pick<Session, "title">, events: readonly Event[], left: number): string {
  const older = left > 0 ? `*${count(left, "older event")} left out.*\n\n` : "";
  return `# ${title(session)}\n\n${older}${events.map(section).join("\n")}`;
}

function section(event: Event): string {
  const [heading, body] = shape(event);
  return `## ${heading} · ${localTime(event.createdAt)}\n\n${withoutCommands(body)}\n`;
}

function shape(event: Event): [heading: string, body: string] {
  const data = fieldsOf(event);
  switch (event.type) {
    case "user_message":
      return ["You", text(data["content"])];
    case "text":
      return ["Assistant", text(data["content"])];
    case "tool_call":
      return [`Tool call: ${code(data["name"])}`, fenced(data["input"], "json")];
    case "tool_result":
      return [data["is_error"] === true ? "Tool result: error" : "Tool result", fenced(data["content"])];
    case "skill_invocation":
      return [`Skill: ${code(data["name"])}`, text(data["content"])];
    case "system_context":
      return ["Context", text(data["content"]).replace(/^/gm, "> ").replace(/ $/gm, "")];
    case "out_of_band_output":
      return [`Output: ${code(data["name"])}`, fenced(data["content"])];
    default:
      return [code(event.type), fenced(event.data, "json")];
  }
}

function fieldsOf(event: Event): { [key: string]: unknown } {
  return event.data !== null && typeof event.data === "object" ? { ...event.data } : { content: event.data };
}

function text(value: unknown): string {
  return (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "").replace(/\r\n?/g, "\n");
}

function fenced(value: unknown, language = ""): string {
  const body = text(value);
  const longest = Math.max(2, ...[...body.matchAll(/^\s*(`+)/gm)].map((match) => match[1]?.length ?? 0));
  const fence = "`".repeat(longest + 1);
  return `${fence}${language}\n${body}\n${fence}`;
}

function code(value: unknown): string {
  return `\`${text(value).replace(/[`\s]+/g, " ").trim()}\``;
}

/** An editor follows a link to `command:` in a document and runs it: what was said must not. */
function withoutCommands(markdown: string): string {
  return markdown
    .replace(/(command)(?=\s*:)/gi, "$1\u200b")
    .replace(/(\]\(\s*<?|\]:\s*<?|<)(?=[^\s)>]*(&|%))/g, "$1\u200b");
}
