// Formats values for display: ages, times, counts, titles, names, and stored strings that must not act as markup.

import { type Session, SOURCE_TITLES } from "./protocol";

/** Characters of the name of a model, an agent or a program. */
const MAX_NAME_LENGTH = 40;

/** The age of an ISO 8601 time in its largest whole unit, such as `12 min ago`; `just now` below a minute. */
export function formatAge(iso: string, now = Date.now()): string {
  const short = formatShortAge(iso, now);
  return short === "now" ? "just now" : `${short} ago`;
}

/** Like `formatAge`, for narrow places: `12 min`, or `now` below a minute. */
export function formatShortAge(iso: string, now = Date.now()): string {
  const seconds = Math.max(0, now - Date.parse(iso)) / 1_000;
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]] as const) {
    if (seconds >= size) {
      return `${Math.floor(seconds / size)} ${unit}`;
    }
  }
  return "now";
}

/** An ISO 8601 time in the local time zone, to the minute: `2026-08-01 14:34`. */
export function formatLocalTime(iso: string): string {
  const time = new Date(iso);
  const shifted = time.getTime() - time.getTimezoneOffset() * 60_000;
  return new Date(shifted).toISOString().slice(0, 16).replace("T", " ");
}

/** From when until when, with a date or a time that is the same only once: `2026-08-01 14:34 to 15:02`. */
export function formatSpan(from: string, to: string): string {
  const [first, last] = [formatLocalTime(from), formatLocalTime(to)];
  const rest = last.startsWith(first.slice(0, 10)) ? last.slice(11) : last;
  return first === last ? first : `${first} to ${rest}`;
}

/** A number with its noun in the singular or the plural: `1 event`, `2 events`. */
export function formatCount(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** The title of a session as one line of at most *width* characters, isolated from the text around it. */
export function formatTitle(session: { title: string | null }, width = 80): string {
  const characters = [...singleLine(session.title ?? "(no message yet)")];
  const title = characters.length > width ? `${characters.slice(0, width - 1).join("").trimEnd()}…` : characters.join("");
  return isolateDirection(title);
}

/** *directory*, where a conversation happened, behind the name of the machine if that is another one. */
export function formatPlace({ machine }: { machine: string | null }, directory: string): string {
  return singleLine(machine ? `${machine}:${directory}` : directory);
}

/** What people call the program that a conversation was imported from, by its `source`. */
export function nameProgram(source: string): string {
  const words = source.split("-").map((word) => word.charAt(0).toUpperCase() + word.slice(1)); // of a later server
  return formatName((Object.hasOwn(SOURCE_TITLES, source) && SOURCE_TITLES[source]) || words.join(" "));
}

/**
 * Who speaks in a conversation: the program that it was imported from, and the model or agent that answered last; and
 * who shares it, if it is another user's.
 */
export function nameSpeakers({ source, model, agent, sharedBy }: Speakers): string[] {
  const shared = nameAll(sharedBy ?? null).map((name) => `shared by ${name}`);
  return [...new Set([...(source === null ? [] : [nameProgram(source)]), ...nameAll(model ?? agent), ...shared])];
}

type Speakers = Pick<Session, "source" | "model" | "agent"> & Partial<Pick<Session, "sharedBy">>;

/** Those names of agents, models and clients that a client has told. */
export function nameAll(...names: (string | null)[]): string[] {
  return names.filter((name) => name !== null).map(formatName);
}

function formatName(name: string): string {
  return formatTitle({ title: name }, MAX_NAME_LENGTH);
}

/** A stored string as one line: control characters become spaces, and bidirectional controls are removed. */
export function singleLine(value: string): string {
  return value
    .replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "")
    .replace(CONTROLS, " ")
    .trim();
}

const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}]+/gu;

/** Letters of scripts that are written from right to left, with their presentation forms. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Isolate a text that is written from right to left: the text beside it must not be reordered. */
function isolateDirection(value: string): string {
  return RIGHT_TO_LEFT.test(value) ? `\u2068${value}\u2069` : value;
}

/** A stored string as the text of a notification or a dialog, where `[…](…)` would be a link, even to a command. */
export function escapeMessage(value: string): string {
  return value.replace(/\](?=\()/g, "]\u200b");
}

/** A text as one line in which `$(name)` is no icon: the status bar and quick picks would show one, and read out its name. */
export function escapeLabel(value: string): string {
  return value.replace(CONTROLS, " ").replace(/\$\((?=[a-z0-9-]+(~[a-z]+)?\))/gi, "$\u200b(");
}

/** A text as one line with all Markdown syntax escaped. */
export function escapeMarkdown(value: string): string {
  return value.replace(CONTROLS, " ").replace(/[\\`*_{}[\]()#+\-.!|~<>&$]/g, "\\$&");
}
