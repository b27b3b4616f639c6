// Requests to the server, and how they fail.

import { EVENT_TYPES, type Method, type Methods } from "./protocol";

/** An event type that the extension knows. */
export type EventType = keyof typeof EVENT_TYPES;

/** Whether the extension knows this event type. Others are stored and shown as JSON. */
export function isKnownEventType(type: string): type is EventType {
  return Object.hasOwn(EVENT_TYPES, type);
}

/** Send one request. Rejects with a `RefusedError`, or with a `ConnectionLostError` if no response can arrive. */
export type Request = <M extends Method>(method: M, params: Methods[M][0]) => Promise<Methods[M][1]>;

/** The server refused a request. `kind` is one of the error kinds of server/PROTOCOL.md. */
export class RefusedError extends Error {
  override readonly name = "SegueError";

  constructor(
    message: string,
    readonly kind: string,
    readonly data: { [key: string]: unknown },
  ) {
    super(message);
  }
}

/** The connection closed before the response arrived: it is unknown whether the request took effect. */
export class ConnectionLostError extends Error {
  override readonly name = "ConnectionLostError";

  constructor(
    message: string,
    /** The generation of the server that the request was sent to; 0 if no server could be started. */
    readonly generation: number,
  ) {
    super(message);
  }
}

/** Whether no server could be started for a request. */
export function isStartFailure(error: unknown): error is ConnectionLostError {
  return error instanceof ConnectionLostError && error.generation === 0;
}

/** Whether *error* is a refusal of this *kind*. */
export function isKind(error: unknown, kind: string): error is RefusedError {
  return error instanceof RefusedError && error.kind === kind;
}

/** The error kinds of a store that takes nothing for now. The same request may succeed later. */
const STORAGE_KINDS = ["StorageUnavailable", "StorageFull", "StorageReadOnly", "StorageCorrupt"];

/** Whether the same request may succeed later: the server is away, or its store takes nothing for now. */
export function isNotNow(error: unknown): error is RefusedError | ConnectionLostError {
  return error instanceof ConnectionLostError || STORAGE_KINDS.some((kind) => isKind(error, kind));
}
