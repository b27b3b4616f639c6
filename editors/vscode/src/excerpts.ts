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
 * Patterns that find the first match of an excerpt in the text of its event, each with the match as its only group: the
 * first ones tell it from the same word elsewhere there, the last one takes any. None if the excerpt has no match.
 */
export function buildPatterns(excerpt: readonly Piece[]): string[] {
  const index = excerpt.findIndex(({ match }) => match);
  const match = excerpt[index]?.text;
  if (match === undefined) {
    return [];
  }
  const join = (pieces: readonly Piece[]) => pieces.map((piece) => piece.text).join("");
  const before = toPattern(join(excerpt.slice(0, index)).replace(/^…/, "").slice(-CONTEXT_LENGTH));
  const after = toPattern(join(excerpt.slice(index + 1)).replace(/…$/, "").slice(0, CONTEXT_LENGTH));
  const found = `(${toPattern(match)})`;
  return [`${before}${found}${after}`, `${before}${found}`, found];
}

/** A pattern for one line of a text, which may have other white space there. */
function toPattern(line: string): string {
  return line.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&").replace(/\s+/g, "\\s+");
}

function shorten({ text, match }: Piece): Piece {
  const characters = [...text];
  if (characters.length <= LEAD_LENGTH) {
    return { text, match };
  }
  const lead = characters.slice(-LEAD_LENGTH).join("");
  const words = lead.replace(/^\S*\s+(?=\S)/, ""); // without a word that is cut
  return { text: `…${words.length < lead.length ? words : characters.slice(1 - LEAD_LENGTH).join("").trimStart()}`, match };
}

function clean(excerpt: readonly Piece[]): Piece[] {
  // Spaces at the ends of a piece stand between words.
  return excerpt.map(({ text, match }) => ({ text: singleLine(`x${text}x`).slice(1, -1), match }));
}
