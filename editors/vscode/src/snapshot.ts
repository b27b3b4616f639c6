// Copies what is to be sent, and refuses what no JSON text can carry.

import { v7 as createId } from "uuid";
import type { AppendOptions } from "../segue";
import type { NewEvent } from "./protocol";
import { RefusedError } from "./requests";

/** The largest call in bytes of JSON. A frame may have 64 MiB, and a longer one is never answered. */
export const MAX_CALL_BYTES = 60 * 1024 * 1024;
/** How deep `data` may nest. The server does not answer a body that nests much deeper. */
const MAX_DEPTH = 256;
const MAX_DIGITS = 4_300;
/** Characters of a path in a message. */
const MAX_PATH_LENGTH = 100;

/** An event with its id. The id makes retries idempotent: the server stores the event once. */
export type EventWithId = NewEvent & { id: string };

/** The events of one call, as they were when they were handed over. */
export interface Snapshot {
  events: EventWithId[];
  options: AppendOptions;
  /** As JSON, in bytes. */
  size: number;
}

/** Where a value is, such as `events[0].data.n`. A linked list, because most paths are never printed. */
interface Path {
  parent: Path | undefined;
  key: string | number;
}

/** `JSON.rawJSON` of newer hosts makes an object that stands for the text of a number. */
interface RawJson {
  isRawJSON?: (value: unknown) => value is { rawJSON: string };
}

/**
 * Copy the arguments of a call, and give an id to events that have none. Changing the originals afterwards changes
 * nothing. Throws a `RefusedError` that names the place if a value has no JSON, or if it is all too large for a frame.
 */
export function takeSnapshot(events: readonly NewEvent[], options: AppendOptions = {}): Snapshot {
  const root: Path = { parent: undefined, key: "events" };
  if (!Array.isArray(events)) {
    throw refuse(root, "expected a list");
  }
  const copies = Array.from(events, (event, index) => {
    const path = { parent: root, key: index };
    return guardReading(path, () => copyEvent(event, path));
  });
  const { agent, model } = copyParams({ agent: options.agent, model: options.model }, "options");
  const copied = { ...(agent === undefined ? {} : { agent }), ...(model === undefined ? {} : { model }) };
  return { events: copies, options: copied, size: measure([copies, copied], root) };
}

/** Copy the params of a request. Throws a `RefusedError` that names the place if a value has no JSON. */
export function copyParams<T extends object>(params: T, name = "params"): T {
  const root: Path = { parent: undefined, key: name };
  return guardReading(root, () => copy(params, root.key, root, [])) as T;
}

function guardReading<T>(path: Path, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof RefusedError ? error : refuse(path, "it cannot be read"); // a Proxy can refuse anything
  }
}

function copyEvent(event: unknown, path: Path): EventWithId {
  if (event === null || typeof event !== "object") {
    throw refuse(path, "expected an object");
  }
  const field = (key: string) => {
    const place = { parent: path, key };
    return copy(readProperty(event, key, place), key, place, []);
  };
  const id = field("id") ?? createId();
  // The server checks the types: only what cannot be sent is refused here.
  return { id, type: field("type"), data: field("data") } as EventWithId;
}

function measure(call: unknown, path: Path): number {
  let size: number;
  try {
    size = Buffer.byteLength(JSON.stringify(call));
  } catch {
    size = Number.POSITIVE_INFINITY; // longer than a string can be
  }
  if (size > MAX_CALL_BYTES) {
    throw refuse(path, `one call takes at most ${MAX_CALL_BYTES / 1024 / 1024} MiB of JSON`);
  }
  return size;
}

/** The value that `JSON.stringify` would write, as plain data; *ancestors* are the originals around it. */
function copy(original: unknown, key: string | number, path: Path, ancestors: readonly object[]): unknown {
  const value = unbox(applyToJson(original, key, path));
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return value;
    case "number":
      if (!Number.isFinite(value)) {
        throw refuse(path, `${value} has no JSON`);
      }
      return value;
    case "object":
      return value === null ? null : copyObject(value, path, ancestors);
    default:
      throw refuse(path, `a ${typeof value} has no JSON`);
  }
}

function copyObject(value: object, path: Path, ancestors: readonly object[]): unknown {
  if ((JSON as RawJson).isRawJSON?.(value)) {
    return checkRawNumber(value, path);
  }
  if (ancestors.includes(value)) {
    throw refuse(path, "it contains itself, which has no JSON");
  }
  if (ancestors.length >= MAX_DEPTH) {
    throw refuse(path, `it nests deeper than ${MAX_DEPTH} levels`);
  }
  const inside = [...ancestors, value];
  return Array.isArray(value) ? copyList(value, path, inside) : copyFields(value, path, inside);
}

function copyList(list: readonly unknown[], path: Path, ancestors: readonly object[]): unknown[] {
  const result: unknown[] = [];
  for (let index = 0; index < list.length; index += 1) {
    const place = { parent: path, key: index };
    const item = copy(readProperty(list, index, place), index, place, ancestors);
    if (item === undefined) {
      throw refuse(place, "undefined in a list has no JSON");
    }
    result.push(item);
  }
  return result;
}

function copyFields(value: object, path: Path, ancestors: readonly object[]): object {
  const fields: [string, unknown][] = [];
  for (const key of Object.keys(value)) {
    const place = { parent: path, key };
    const field = copy(readProperty(value, key, place), key, place, ancestors);
    if (field !== undefined) {
      fields.push([key, field]);
    }
  }
  if (fields.length === 0 && !isPlain(value)) {
    throw refuse(path, `nothing of this ${value.constructor?.name ?? "object"} has JSON`);
  }
  return Object.fromEntries(fields); // unlike assignment, it keeps a key `__proto__`
}

/** Whether an object is `{…}`, and not an instance of a class such as Map, whose content JSON leaves out. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function checkRawNumber(value: { rawJSON: string }, path: Path): object {
  const digits = /^-?(\d+)$/.exec(value.rawJSON)?.[1];
  if (digits !== undefined && digits.length > MAX_DIGITS) {
    throw refuse(path, `an integer has at most ${MAX_DIGITS.toLocaleString("en")} digits`);
  }
  return value;
}

function readProperty(holder: object, key: string | number, path: Path): unknown {
  try {
    return (holder as { [key: string | number]: unknown })[key];
  } catch {
    throw refuse(path, "its getter failed");
  }
}

function applyToJson(value: unknown, key: string | number, path: Path): unknown {
  if (value === null || (typeof value !== "object" && typeof value !== "bigint")) {
    return value;
  }
  const toJson = readProperty(value as object, "toJSON", path);
  if (typeof toJson !== "function") {
    return value;
  }
  try {
    return toJson.call(value, String(key));
  } catch {
    throw refuse(path, "its toJSON failed");
  }
}

/** The primitive in an object such as `new Number(1)`. */
function unbox(value: unknown): unknown {
  return value instanceof Number || value instanceof String || value instanceof Boolean ? value.valueOf() : value;
}

function refuse(path: Path, what: string): RefusedError {
  const place = shorten(formatPath(path));
  const message = `${place}: ${what}. Nothing was sent.`;
  return new RefusedError(message, "InvalidParams", { errors: [{ path: `$.${place}`, message: what }] });
}

function shorten(place: string): string {
  return place.length > MAX_PATH_LENGTH ? `${place.slice(0, MAX_PATH_LENGTH)}…` : place;
}

function formatPath({ parent, key }: Path): string {
  if (parent === undefined) {
    return String(key);
  }
  return formatPath(parent) + (typeof key === "number" ? `[${key}]` : `.${key}`);
}
