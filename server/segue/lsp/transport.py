"""JSON-RPC dispatch on top of pygls: parsing, requests, cancellation, errors.

pygls registers the handlers, runs them and hands over their results. This is the only module that
uses its private API; each override names the default it replaces. Params stay plain JSON until the
method's own types structure them.

Requests are dispatched in the order of their arrival; `sessions.window` keeps that order.
"""

import asyncio
import contextvars
import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from lsprotocol import types as lsp
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcMethodNotFound,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)
from pygls.protocol.json_rpc import JsonRPCProtocol

import segue
from segue.lsp import json_body
from segue.lsp.framing.reader import BadFrame, Frame, FrameReader
from segue.lsp.framing.writer import FrameWriter
from segue.model import validation
from segue.model.errors import SegueError
from segue.model.records import Origin
from segue.model.validation import Fault, InvalidInputError
from segue.protocol import messages
from segue.protocol.methods import METHODS, NOTIFICATIONS, VERSION

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_IN_FLIGHT = 256
"""While more requests are without a response, nothing is read. A server that shuts down waits for
all of them, and a slow disk commits this many in a second."""

MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024
"""Nor while their bodies have more bytes: a long request takes several times its length."""

_MAX_ID = 1_024
"""The longest id that is repeated in a response, in characters."""

# In ASCII: a lone surrogate has no UTF-8.
_encoder = json.JSONEncoder(separators=(",", ":"))

_MAX_CLIENT = 100
"""How long the name and the version of a client can be, in characters."""


class SessionProtocol(JsonRPCProtocol):
    """LSP's life cycle and the session methods: every request gets exactly one response."""

    writer: FrameWriter  # type: ignore[assignment]  # pygls' own writer has no buffer to ask about

    def __init__(
        self,
        server: Any,
        reader: FrameReader,
        writer: FrameWriter,
        *,
        database: str | None,
        watch_process: Callable[[int], None],
    ) -> None:
        """Serve the client behind *reader* and *writer*.

        *database* is the path, or the URL, that `initialize` returns; None if nothing is stored.
        *watch_process* is called with the client's process id once it is known.
        """
        super().__init__(server, messages.wire)
        self.folders: list[str] = []
        self.client = Origin()
        self.stopped = asyncio.Event()
        self.exit_code = 0
        self.writer = writer
        self._reader = reader
        self._database = database
        self._watch_process = watch_process
        self._initialized = False
        self._in_flight: dict[Any, _InFlight] = {}
        self._bytes_in_flight = 0
        self._cancelled: set[Any] = set()
        self._reported: set[str] = set()
        self._register_builtin_features()

    # -- start and end ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read and to write."""
        self.writer.start(self.shut_down, self.apply_backpressure)
        self._reader.start(self.receive, self.stop)

    def stop(self, exit_code: int = 0) -> None:
        """Make the server end. Requests that were accepted are finished first."""
        self.exit_code = self.exit_code or exit_code
        self.stopped.set()

    def shut_down(self) -> None:
        """Accept what the client has written so far, then stop.

        An editor that quits closes all its pipes at once: its last requests are still in the pipe.
        """
        self._reader.drain()
        self.stop()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every accepted request is finished; return whether all are."""
        if self._in_flight:
            await asyncio.wait(list(self._in_flight), timeout=timeout_s)
        return not self._in_flight

    def start_discarding(self) -> None:
        """Stop waiting for a client that does not read.

        Responses that the buffer cannot take are discarded, and requests that only read are
        cancelled if their results would be: the remaining time is for appends.
        """
        self.writer.start_discarding()
        self._cancel_unread()

    def _cancel_unread(self) -> None:
        if self.writer.is_discarding:
            for future, request in self._in_flight.items():
                if METHODS[request.method].reads:
                    future.cancel()

    def _register_builtin_features(self) -> None:
        # Not pygls' LanguageServer: that would advertise and handle text documents.
        handlers: dict[str, Callable[[Any], Any]] = {
            lsp.INITIALIZE: self.lsp_initialize,
            lsp.INITIALIZED: self.lsp_initialized,
            lsp.SHUTDOWN: self.lsp_shutdown,
            lsp.EXIT: self.lsp_exit,
            lsp.SET_TRACE: self.lsp_set_trace,
            lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: self.lsp_did_change_workspace_folders,
        }
        for method, handler in handlers.items():
            self.fm.add_builtin_feature(method, handler)

    def lsp_initialize(self, params: Any) -> Any:
        """Handle `initialize`: keep the workspace folders, return the capabilities."""
        if self._initialized:
            raise JsonRpcInvalidRequest("The server is initialized already")
        client = _structure(params, messages.InitializeParams)
        folders = [folder.uri for folder in client.workspace_folders or ()]
        root = client.root_uri or client.root_path
        self.folders = folders or ([root] if root else [])
        self._initialized = True
        self.client = _origin(client.client_info)
        if client.process_id is not None:
            self._watch_process(client.process_id)
        return {
            "capabilities": {
                "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
                "experimental": {
                    "sessions": {
                        "version": VERSION,
                        "methods": list(METHODS),
                        "database": self._database,
                    }
                },
            },
            "serverInfo": {"name": "segue", "version": segue.__version__},
        }

    def lsp_initialized(self, params: Any) -> None:
        """Handle `initialized`: nothing is to be registered."""

    async def lsp_shutdown(self, params: Any) -> None:
        """Handle `shutdown`: finish what was accepted, which pygls would cancel."""
        await self.drain(timeout_s=1.5)

    def lsp_exit(self, params: Any) -> None:
        """Handle `exit`; the exit code is 0 only after `shutdown`."""
        self.stop(0 if self._shutdown else 1)

    def lsp_set_trace(self, params: Any) -> None:
        """Handle `$/setTrace`: nothing is traced, because messages contain conversation text."""

    def lsp_did_change_workspace_folders(self, params: Any) -> None:
        """Handle `workspace/didChangeWorkspaceFolders`: keep the folders up to date."""
        change = _structure(params, messages.FoldersChangeParams).event
        removed = {folder.uri for folder in change.removed}
        self.folders = [uri for uri in self.folders if uri not in removed]
        self.folders += [folder.uri for folder in change.added]

    # -- incoming messages -----------------------------------------------------------------------

    def receive(self, frames: list[Frame]) -> None:
        """Handle *frames* in their order, and empty the list; after `stop`, none is accepted."""
        frames.reverse()
        while frames and not self.stopped.is_set():
            frame = frames.pop()
            if isinstance(frame, BadFrame):
                fault = f"Invalid Request: {frame.message}"
                self._respond_error(json_body.find_id(frame.head), JsonRpcInvalidRequest(fault))
            else:
                self._receive_body(frame)

    def _receive_body(self, body: bytes | bytearray) -> None:
        size = len(body)
        # A long body is emptied while it is decoded: its id may be needed after that.
        kept = json_body.ends(body) if isinstance(body, bytearray) else body
        try:
            message = json_body.decode(body)
        except MemoryError as error:
            self._respond_error(json_body.find_id(kept), _to_json_rpc(error))
        except json_body.TooLargeError as error:
            fault = InvalidInputError(Fault("$", str(error)))
            self._respond_error(json_body.find_id(kept), _to_json_rpc(fault))
        except (ValueError, RecursionError) as error:
            parse_error = JsonRpcParseError(f"Parse Error: {json_body.describe(error)}")
            self._respond_error(None, parse_error)
        else:
            self.handle_message(message, size)

    def handle_message(self, message: Any, size: int = 0) -> None:
        """Handle one decoded message, of *size* bytes: validate it, then dispatch it."""
        if not isinstance(message, dict):
            self._respond_error(None, JsonRpcInvalidRequest("Invalid Request: expected an object"))
            return
        msg_id: Any = message.get("id")
        method: Any = message.get("method")
        if "method" not in message and ("result" in message or "error" in message):
            return  # a response, and the server sends no requests
        if "id" in message and not _is_id(msg_id):
            fault = (
                f"Invalid Request: id must be a number or a string of up to {_MAX_ID:,} characters"
            )
            self._respond_error(None, JsonRpcInvalidRequest(fault))
        elif message.get("jsonrpc") != self.VERSION or type(method) is not str:
            fault = 'Invalid Request: expected "jsonrpc": "2.0" and a method'
            self._respond_error(msg_id, JsonRpcInvalidRequest(fault))
        elif "id" not in message:
            self._dispatch_notification(method, message.get("params"))
        elif not self._initialized and method != lsp.INITIALIZE:
            fault = "The server is not initialized yet"
            self._respond_error(msg_id, JsonRpcServerNotInitialized(fault))
        elif self._shutdown:
            self._respond_error(msg_id, JsonRpcInvalidRequest("The server is shutting down"))
        else:
            self._shutdown = method == lsp.SHUTDOWN
            self._dispatch_request(msg_id, method, message.get("params"), size)

    def _dispatch_request(self, msg_id: Any, method: str, params: Any, size: int) -> None:
        if method not in METHODS and method not in self.fm.builtin_features:
            # pygls would repeat the whole name.
            self._respond_error(msg_id, JsonRpcMethodNotFound.of(method[:_MAX_ID]))
            return
        contextvars.copy_context().run(self._handle_request, msg_id, method, params)
        if method in METHODS:
            self._in_flight[self._request_futures[msg_id]] = _InFlight(method, size)
            self._bytes_in_flight += size
            self.apply_backpressure()

    def _dispatch_notification(self, method: str, params: Any) -> None:
        # pygls would read `params.id`, which a dict does not have, and log params that fail.
        if method == lsp.CANCEL_REQUEST:
            self._cancel(params)
        elif method in self.fm.builtin_features and method not in (lsp.INITIALIZE, lsp.SHUTDOWN):
            try:
                self.fm.builtin_features[method](params)
            except InvalidInputError as error:
                logger.warning("%s was ignored: %s", method, error)
        elif (method in METHODS or method in self.fm.builtin_features) and (
            method not in self._reported
        ):
            self._reported.add(method)
            logger.warning("%s without an id is not executed: send it as a request", method)

    def _cancel(self, params: Any) -> None:
        msg_id: Any = params.get("id") if isinstance(params, dict) else None
        if _is_id(msg_id) and (request := self._request_futures.pop(msg_id, None)):
            # pygls would stop it at its next await, in the middle of a write.
            self._cancelled.add(request)
            self._respond_error(msg_id, JsonRpcRequestCancelled("Request Cancelled"))

    def feature(
        self, method: str, handler: Callable[[Any, Any], Awaitable[Any]]
    ) -> Callable[[Any], Awaitable[Any]]:
        """Return *handler* as a feature of pygls: JSON params in, the JSON result out.

        A cancelled request loses its response. Its work is done all the same.
        """
        shape = METHODS[method]

        async def run(params: Any) -> Any:
            typed: Any = _structure(params, shape.params)
            if isinstance(params, dict):
                params.clear()  # pygls holds it until the response; it may be large
            return messages.wire.unstructure(await handler(self._server, typed), shape.result)

        return run

    # -- outgoing messages -----------------------------------------------------------------------

    def tell(self, method: str, params: Any) -> None:
        """Send the notification *method*."""
        plain = messages.wire.unstructure(params, NOTIFICATIONS[method])
        self._send_data({"jsonrpc": self.VERSION, "method": method, "params": plain})

    def _send_handler_result(self, future: Any, *, msg_id: Any) -> None:
        # pygls would log the traceback of an error that it does not know, and send it.
        if (request := self._in_flight.pop(future, None)) is not None:
            self._bytes_in_flight -= request.size
        if future in self._cancelled:
            self._cancelled.remove(future)
            if not future.cancelled():
                future.exception()  # asyncio logs one that nobody asks for, with its traceback
        else:
            self._request_futures.pop(msg_id, None)
            self._respond(msg_id, future)
        self.apply_backpressure()

    def _respond(self, msg_id: Any, future: Any) -> None:
        try:
            if future.cancelled():
                raise JsonRpcRequestCancelled("Nobody reads the response")
            self._send_response(msg_id, future.result())
        except Exception as error:  # of the handler, or of a result that has no JSON
            self._respond_error(msg_id, _to_json_rpc(error))

    def _respond_error(self, msg_id: Any, error: JsonRpcException) -> None:
        self._send_response(msg_id, error=error.to_response_error())

    def _send_response(self, msg_id: Any, result: Any = None, error: Any = None) -> None:
        # A plain dict: lsprotocol's message class drops an id of null.
        response: dict[str, Any] = {"jsonrpc": self.VERSION, "id": msg_id}
        if error is None:
            response["result"] = result
        else:
            response["error"] = {"code": error.code, "message": error.message}
            if error.data is not None:
                response["error"]["data"] = error.data
        self._send_data(response)

    def _send_data(self, data: Any) -> None:
        # Responses to pipelined requests are joined: one write for all that are ready.
        self.writer.send(_encoder.encode(data).encode(), more=bool(self._request_futures))
        self._cancel_unread()

    def apply_backpressure(self) -> None:
        """Pause reading while too many requests are in flight or too much is unread, else resume.

        See `MAX_IN_FLIGHT` and `FrameWriter.over_high_water_mark`.
        """
        if self.stopped.is_set():
            return
        # Not by their ids: a client may use one for many requests.
        in_flight = len(self._in_flight)
        if (
            in_flight > MAX_IN_FLIGHT
            or self._bytes_in_flight > MAX_BYTES_IN_FLIGHT
            or self.writer.over_high_water_mark
        ):
            self._reader.pause()
        else:
            self._reader.resume()


def _structure(params: Any, kind: type[T]) -> T:
    # Missing params, null and [] are read as {}: Lua has one empty table.
    given = {} if params in (None, []) else params
    return validation.structure(messages.wire, given, kind, validation.camel_case)


@attrs.frozen(eq=False)
class _InFlight:
    """A request without a response: its method, and the length of its body."""

    method: str
    size: int


def _origin(info: Any) -> Origin:
    """Return what a client calls itself. It is only kept: nothing in it is a reason to refuse."""
    given = info if isinstance(info, dict) else {}
    return Origin(
        client_name=_one_line(given.get("name")), client_version=_one_line(given.get("version"))
    )


def _one_line(text: Any) -> str | None:
    """Return a text as it is stored: one short line that can be shown, or None for nothing."""
    if not isinstance(text, str):
        return None
    shown = "".join(char if char.isprintable() else " " for char in text[: 10 * _MAX_CLIENT])
    return " ".join(shown.split())[:_MAX_CLIENT] or None


def _is_id(value: Any) -> bool:
    if type(value) is str:
        return len(value) <= _MAX_ID
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _to_json_rpc(error: BaseException) -> JsonRpcException:
    match error:
        case JsonRpcException():
            return error
        case InvalidInputError():
            faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            data = {"errors": faults, "errorCount": error.count}
            return JsonRpcInvalidParams(f"Invalid Params: {error}", data=data)
        case SegueError():
            details = {
                validation.camel_case(name): value for name, value in error.details().items()
            }
            data = {"kind": error.kind, **details}
            return JsonRpcException(str(error), lsp.LSPErrorCodes.RequestFailed.value, data)
        case _:
            # Its message and traceback may hold conversation text: only its type is disclosed.
            logger.error("A request failed inside: %s", type(error).__name__)
            return JsonRpcInternalError(f"Internal Error: {_describe(error)}")


def _describe(error: BaseException) -> str:
    match error:
        case MemoryError():
            return "the server has not enough memory for this request"
        case RecursionError():
            return "the request nests too deeply"
        case RuntimeError() if str(error) == "can't start new thread":
            return "the system lets the server start no thread (a limit of processes or memory)"
        case OSError() if error.strerror:
            # Without the file's name: it is the server's own.
            return f"the system refused an operation: {error.strerror}"
        case _:
            return f"{type(error).__name__}, a fault of the server: see its log, and report it"
