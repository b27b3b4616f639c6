// Renders a conversation as HTML, block by block.

import { type Block, buildBlocks, type Fold, type Part, type Speaker } from "./blocks";
import { formatCount, formatLocalTime, formatPlace, formatSpan, formatTitle, nameAll, nameProgram } from "./format";
import { escapeHtml, escapePreformatted, makeReadable } from "./html";
import { renderMarkdown } from "./markdownHtml";
import type { Event, Invocation, Session } from "./protocol";
import { findTurns } from "./turns";

/** Characters of a text in a fold. */
const MAX_BODY_LENGTH = 20_000;
/** Characters of the name of a tool or an event type. */
const MAX_NAME_LENGTH = 120;
const SPEAKERS = { user: "You", assistant: "Assistant" };

/** A block as the page gets it. Blocks with the same key have the same HTML. */
export interface RenderedBlock {
  id: string;
  key: string;
  html: string;
}

/** The events of a conversation that are shown. */
export interface Shown {
  /** Oldest first, without gaps. */
  events: readonly Event[];
  /** By their ids. */
  invocations: ReadonlyMap<string, Invocation>;
  /** The conversation has events after these. */
  hasNewer: boolean;
}

/** Renders a conversation again and again: a block that is still the same is not rendered anew. */
export class TranscriptRenderer {
  private rendered = new Map<string, RenderedBlock>();

  /** The blocks, each with what was said; after each turn, with the ways to go on from there. */
  render(session: Session, { events, invocations, hasNewer }: Shown): RenderedBlock[] {
    const turns = findTurns(events);
    const last = turns.pop(); // it may go on after these events
    const ends = new Map<string, boolean>(turns.map((turn) => [turn.last.id, session.archivedAt === null && session.sharedBy === null]));
    if (last !== undefined && !hasNewer) {
      ends.set(last.last.id, false);
    }
    const blocks: RenderedBlock[] = [];
    /** What the headings have said so far. */
    let speaker: Speaker;
    let client: string | undefined;
    let model: string | undefined;
    const all = buildBlocks(events);
    for (const [index, block] of all.entries()) {
      const [first] = block.events;
      const end = block.events.at(-1) ?? first;
      const newClient = findNewClient(block, invocations, client);
      const named = findModel(all, index);
      const newModel = named === model ? undefined : named;
      const isNewSpeaker = block.speaker !== undefined && block.speaker !== speaker;
      const hasHeading = isNewSpeaker || newClient !== undefined || newModel !== undefined;
      const turnEnd = block.events.find(({ id }) => ends.has(id));
      const isFork = session.forkedFrom !== null && block.events.some(({ seq }) => seq === session.forkedAt);
      const canGoBack = turnEnd !== undefined && ends.get(turnEnd.id) === true;
      const key = [first.seq, end.seq, hasHeading ? named : "", hasHeading, newClient, turnEnd?.id, canGoBack, isFork].join(" ");
      if (block.parts.length > 0 || isFork || turnEnd !== undefined) {
        const known = this.rendered.get(first.id);
        blocks.push(known?.key === key ? known : {
          id: first.id,
          key,
          html: [
            hasHeading ? renderHeading(block, named, newClient, session.sharedBy) : "",
            ...block.parts.map(renderPart),
            turnEnd === undefined ? "" : renderActions(turnEnd.id, canGoBack),
            isFork ? '<p class="mark">The fork begins here.</p>' : "",
          ].join(""),
        });
      }
      speaker = turnEnd === undefined ? (block.speaker ?? speaker) : undefined;
      client = newClient ?? client;
      model = newModel ?? model;
    }
    this.rendered = new Map(blocks.map((block) => [block.id, block]));
    return blocks;
  }
}

/** The model that speaks in a block: the events of its tools and thoughts before an answer do not name it. */
function findModel(blocks: readonly Block[], index: number): string | undefined {
  const { speaker } = blocks[index] ?? {};
  for (let next = index; speaker === "assistant" && blocks[next]?.speaker === speaker; next += 1) {
    const { model } = blocks[next] ?? {};
    if (model !== undefined) {
      return model;
    }
  }
  return undefined;
}

/** The client that had this said, if it is not *known*. */
function findNewClient({ events: [first], speaker }: Block, invocations: Shown["invocations"], known: string | undefined): string | undefined {
  const client = invocations.get(first.invocationId)?.clientName ?? undefined;
  return speaker === undefined || client === known ? undefined : client;
}

/** The id of the block that shows an event; undefined if none does. */
export function findBlockId(events: readonly Event[], eventId: string): string | undefined {
  return buildBlocks(events).find((block) => block.events.some(({ id }) => id === eventId))?.events[0].id;
}

/** The title, and where, when and with whom the conversation was had. *original*: what it is a fork of, if that is known. */
export function renderHead(session: Session, original?: Pick<Session, "title">): string {
  const program = session.source === null ? nameAll(session.client) : [nameProgram(session.source)];
  const facts = [
    ...new Set([...program, ...nameAll(session.agent, session.model)]),
    formatPlace(session, session.gitRoot ?? session.directory),
    ...(session.branch === null ? [] : [formatTitle({ title: session.branch }, MAX_NAME_LENGTH)]),
    formatCount(session.eventCount, "event"),
    formatSpan(session.createdAt, session.updatedAt),
    ...(session.archivedAt === null ? [] : ["archived"]),
    ...nameAll(session.sharedBy).map((name) => `shared by ${name}`),
  ];
  return [
    `<h1>${escapeHtml(formatTitle(session, 200))}</h1>`,
    `<p class="facts">${facts.map((fact) => `<span>${escapeHtml(makeReadable(fact))}</span>`).join(" · ")}</p>`,
    session.forkedFrom === null ? "" : renderOrigin(session, original),
  ].join("");
}

function renderOrigin({ forkedAt }: Session, original: Pick<Session, "title"> | undefined): string {
  const name = original === undefined
    ? "another conversation"
    : `<button class="link" data-action="original">“${escapeHtml(formatTitle(original))}”</button>`;
  return `<p class="facts">A fork of ${name}: the first ${formatCount(forkedAt ?? 0, "event")} are the same.</p>`;
}

function renderHeading({ events: [first], speaker }: Block, model: string | undefined, client: string | undefined, sharedBy: string | null): string {
  const [other] = speaker === "user" ? nameAll(sharedBy) : [];
  const name = other === undefined ? SPEAKERS[speaker ?? "assistant"] : escapeHtml(makeReadable(other));
  const details = [...nameAll(model ?? null), formatLocalTime(first.createdAt), ...nameAll(client ?? null)];
  const shown = details.map((detail) => `<span>${escapeHtml(makeReadable(detail))}</span>`).join(" · ");
  return `<h2 class="${speaker}">${name} <small>${shown}</small></h2>`;
}

function renderActions(eventId: string, canGoBack: boolean): string {
  const button = (action: string, title: string) =>
    `<button data-action="${action}" data-event="${escapeHtml(eventId)}">${title}</button>`;
  return `<div class="actions">${button("fork", "Fork Conversation from Here")}${canGoBack ? button("goBack", "Go Back to Here") : ""}</div>`;
}

function renderPart(part: Part): string {
  switch (part.kind) {
    case "prose":
      return `<div class="prose">${renderMarkdown(part.text)}</div>`;
    case "note":
      return `<p class="note">${escapeHtml(makeReadable(part.text))}</p>`;
    case "fold":
      return renderFold(part);
  }
}

function renderFold({ label, hint, bodies, hasFailed = false, isMarkdown = false }: Fold): string {
  const name = escapeHtml(makeReadable(formatTitle({ title: label }, MAX_NAME_LENGTH)));
  const failed = hasFailed ? ' <span class="failed">failed</span>' : "";
  const render = (body: string) => (isMarkdown ? `<div class="prose">${renderMarkdown(body)}</div>` : renderBody(body));
  const shown = bodies.filter((body) => body !== "").map(render).join("");
  return `<details><summary><b>${name}</b>${failed} <span class="hint">${escapeHtml(makeReadable(hint))}</span></summary>${shown}</details>`;
}

function renderBody(body: string): string {
  const left = body.length - MAX_BODY_LENGTH;
  const note = left > 0 ? `<p class="note">${formatCount(left, "more character")} left out. An export has all.</p>` : "";
  return `<pre>${escapePreformatted(makeReadable(body.slice(0, MAX_BODY_LENGTH)))}</pre>${note}`;
}
