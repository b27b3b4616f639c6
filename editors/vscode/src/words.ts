// What is shown to people: ages, counts, titles, and text that must be nothing but text.

/** How long ago that was: `12 min ago`. */
export function age(iso: string, now = Date.now()): string {
  const short = shortAge(iso, now);
  return short === "now" ? "just now" : `${short} ago`;
}

/** The same where there is little room: `12 min`. */
export function shortAge(iso: string, now = Date.now()): string {
  const seconds = Math.max(0, now - Date.parse(iso)) / 1_000;
  for (const [size, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]] as const) {
    if (seconds >= size) {
      return `${Math.floor(seconds / size)} ${unit}`;
    }
  }
  return "now";
}

/** A time as the person's clock has it: `2026-08-01 14:34`. */
export function localTime(iso: string): string {
  const at = new Date(iso);
  const minutes = at.getTime() - at.getTimezoneOffset() * 60_000;
  return new Date(minutes).toISOString().slice(0, 16).replace("T", " ");
}

/** `1 event`, `2 events`. */
export function count(number: number, noun: string): string {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** What a person recognises a session by, at most *width* characters of it. */
export function title(session: { title: string | null }, width = 80): string {
  const text = [...plain(session.title ?? "(no message yet)")];
  return text.length > width ? `${text.slice(0, width - 1).join("").trimEnd()}…` : text.join("");
}

/** Stored text as one line of nothing but text: no control characters, no turned direction. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, " ").trim();
}

/** The same for a place that shows `$(name)` as an icon: the status bar, a quick pick. */
export function plainLabel(text: string): string {
  return plain(text).replace(/\$\((?=[a-z0-9-]+(~[a-z]+)?\))/gi, "\\$(");
}

/** The same for a place that shows Markdown. */
export function plainMarkdown(text: string): string {
  return plain(text).replace(/[\\`*_{}[\]()#+\-.!|~<>&$]/g, "\\$&");
}
