// Excerpts of what was found: with visible matches, and where they are in a document.

import { singleLine } from "./format";
import type { Piece } from "./protocol";

/** Characters before the first match where space is narrow. */
const LEAD_LENGTH = 20;
/** Characters before and after a match that tell it from the same word elsewhere in its event. */
const CONTEXT_LENGTH = 30;

/** A text with the ranges of its matches, as a tree item takes them. */
export interface Highlighted {
  label: string;
  highlights: [start: number, end: number][];
}

/** An excerpt as one line, with its matches as ranges of characters. It begins shortly before the first of them. */
export function highlightExcerpt(excerpt: readonly Piece[]): Highlighted {
  let label = "";
  const highlights: [number, number][] = [];
  const [first, ...others] = clean(excerpt);
  const mustShorten = first?.match === false && others.length > 0;
  for (const { text, match } of [...(first === undefined ? [] : [mustShorten ? shorten(first) : first]), ...others]) {
    if (match) {
      highlights.push([label.length, label.length + text.length]);
    }
    label += text;
  }
  return { label, highlights };
}

/** An excerpt as one line, with its matches between marks: for places that can show no bold text. */
export function markExcerpt(excerpt: readonly Piece[]): string {
  return clean(excerpt).map(({ text, match }) => (match ? `«${text}»` : text)).join("");
}

/**
 * The first match of an excerpt in the text of its event as it is displayed, as a range of characters. Undefined if
 * it is displayed in another way, or the excerpt has no match.
 */
export function findMatch(text: string, excerpt: readonly Piece[]): [start: number, end: number] | undefined {
  const index = excerpt.findIndex(({ match }) => match);
  const match = excerpt[index]?.text;
  if (match === undefined) {
    return undefined;
  }
  const join = (pieces: readonly Piece[]) => pieces.map((piece) => piece.text).join("");
  const before = join(excerpt.slice(0, index)).replace(/^…/, "").slice(-CONTEXT_LENGTH);
  const after = join(excerpt.slice(index + 1)).replace(/…$/, "").slice(0, CONTEXT_LENGTH);
  return search(text, before, match, after) ?? search(text, before, match, "") ?? search(text, "", match, "");
}

function search(text: string, before: string, match: string, after: string): [number, number] | undefined {
  const found = new RegExp(`(${toPattern(before)})(${toPattern(match)})${toPattern(after)}`).exec(text);
  if (found === null) {
    return undefined;
  }
  const start = found.index + (found[1]?.length ?? 0);
  return [start, start + (found[2]?.length ?? 0)];
}

/** A pattern for one line of a text, which may have other white space there. */
function toPattern(line: string): string {
  return line.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, "\\s+");
}

function shorten({ text, match }: Piece): Piece {
  const characters = [...text];
  return { text: characters.length > LEAD_LENGTH ? `…${characters.slice(1 - LEAD_LENGTH).join("").trimStart()}` : text, match };
}

function clean(excerpt: readonly Piece[]): Piece[] {
  // Spaces at the ends of a piece stand between words.
  return excerpt.map(({ text, match }) => ({ text: singleLine(`x${text}x`).slice(1, -1), match }));
}
