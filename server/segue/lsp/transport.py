"""Everything that has to be said to pygls about messages: what comes in, what goes out, errors.

This is the one module that knows pygls' private names; HAZARDS of its defaults stand beside each
guard. Params stay plain dicts until the handler's own types structure them.
"""

import asyncio
import contextvars
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInternalError,
    JsonRpcInvalidParams,
    JsonRpcInvalidRequest,
    JsonRpcParseError,
    JsonRpcRequestCancelled,
    JsonRpcServerNotInitialized,
)
from pygls.protocol.json_rpc import JsonRPCProtocol

import segue
from segue import strict
from segue.lsp import protocol
from segue.lsp.framing import BadFrame, Frame, FrameReader, FrameWriter
from segue.service import SegueError
from segue.strict import InvalidInputError

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT = 256
"""Requests without an answer; while there are more, nothing more is read: the end of a server
waits for them all, and a slow disk commits this many in a second."""

_QUESTIONS = ("session/events", "session/list", "session/findResumable", "session/getMetadata")

Handler = Callable[[Any, Any], Awaitable[Any]]

# In ASCII, which is its habit: half a surrogate pair has no UTF-8.
_encoder = json.JSONEncoder(separators=(",", ":"))


class SessionProtocol(JsonRPCProtocol):
    """LSP's life cycle and the session requests: every request gets an answer, in any case."""

    def __init__(self, server: Any, converter: Any) -> None:
        self.folders: list[str] = []
        self.database: str | None = None
        self.stopped = asyncio.Event()
        self.exit_code = 0
        self.on_client: Callable[[int], None] = lambda process_id: None
        self._initialized = False
        self._work: set[Any] = set()
        self._unwanted: set[Any] = set()
        self._reader: FrameReader | None = None
        super().__init__(server, converter)
        self._register_builtin_features()

    # -- start and end ---------------------------------------------------------------------------

    def connect(self, reader: FrameReader, writer: FrameWriter) -> None:
        """Speak through *reader* and *writer* from now on."""
        self._reader = reader
        self.writer = writer  # type: ignore[assignment]
        reader.start()

    def stop(self, exit_code: int = 0) -> None:
        """Ask for the end. What was accepted is finished first."""
        self.exit_code = self.exit_code or exit_code
        self.stopped.set()

    async def drain(self, at_most_s: float) -> bool:
        """Wait until everything that was accepted is done; tell whether it is."""
        if self._work:
            await asyncio.wait(self._work, timeout=at_most_s)
        return not self._work

    def _register_builtin_features(self) -> None:
        # pygls' LanguageServer would advertise, and handle, text documents that nobody asked for.
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
        if self._initialized:
            raise JsonRpcInvalidRequest("The server is initialized already")
        client = _structure(params, protocol.InitializeParams)
        named = [folder.uri for folder in client.workspace_folders or ()]
        root = client.root_uri or client.root_path
        self.folders = named or ([root] if root else [])
        self._initialized = True
        if client.process_id is not None:
            self.on_client(client.process_id)
        return {
            "capabilities": {
                "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
                "experimental": {
                    "sessions": {
                        "version": protocol.VERSION,
                        "methods": list(protocol.METHODS),
                        "database": self.database,
                    }
                },
            },
            "serverInfo": {"name": "segue", "version": segue.__version__},
        }

    def lsp_initialized(self, params: Any) -> None:
        """Nothing is to be registered."""

    async def lsp_shutdown(self, params: Any) -> None:
        # pygls cancels what is in flight here; it was accepted, so it is finished.
        await self.drain(at_most_s=1.5)

    def lsp_exit(self, params: Any) -> None:
        self.stop(0 if self._shutdown else 1)

    def lsp_set_trace(self, params: Any) -> None:
        """Nothing is traced to the client: it would be conversation text."""

    def lsp_did_change_workspace_folders(self, params: Any) -> None:
        change = _structure(params, protocol.FoldersChangeParams).event
        removed = {folder.uri for folder in change.removed}
        self.folders = [uri for uri in self.folders if uri not in removed]
        self.folders += [folder.uri for folder in change.added]

    # -- what comes in ---------------------------------------------------------------------------

    def receive(self, frames: list[Frame]) -> None:
        """Take in what the reader found; after the end has begun, nothing more is accepted."""
        for frame in frames:
            if self.stopped.is_set():
                return
            if isinstance(frame, BadFrame):
                self._refuse(None, JsonRpcInvalidRequest(f"Invalid Request: {frame.message}"))
                continue
            try:
                message = _decode(frame)
            except (ValueError, RecursionError) as error:
                self._refuse(None, JsonRpcParseError(f"Parse Error: {_what_is_wrong(error)}"))
                continue
            self.handle_message(message)

    def handle_message(self, message: Any) -> None:
        if not isinstance(message, dict):
            self._refuse(None, JsonRpcInvalidRequest("Invalid Request: expected an object"))
            return
        msg_id: Any = message.get("id")
        method: Any = message.get("method")
        if "method" not in message and ("result" in message or "error" in message):
            return  # an answer, and we ask nothing
        if "id" in message and type(msg_id) not in (int, str):
            self._refuse(None, JsonRpcInvalidRequest("Invalid Request: id must be int or string"))
        elif message.get("jsonrpc") != self.VERSION or type(method) is not str:
            fault = 'Invalid Request: expected "jsonrpc": "2.0" and a method'
            self._refuse(msg_id, JsonRpcInvalidRequest(fault))
        elif "id" not in message:
            self._notified(method, message.get("params"))
        elif not self._initialized and method != lsp.INITIALIZE:
            self._refuse(msg_id, JsonRpcServerNotInitialized("The server is not initialized yet"))
        elif self._shutdown:
            self._refuse(msg_id, JsonRpcInvalidRequest("The server is shutting down"))
        elif method in protocol.METHODS:
            self._begin(msg_id, method, message.get("params"))
        else:
            self._shutdown = method == lsp.SHUTDOWN
            context = contextvars.copy_context()
            context.run(self._handle_request, msg_id, method, message.get("params"))

    def _begin(self, msg_id: Any, method: str, params: Any) -> None:
        # Not by pygls' callbacks: they take one more round of the event loop before the answer.
        answer: Any = self.fm.features[method]
        work = asyncio.create_task(self._finish(msg_id, answer(params)), name=method)
        self._request_futures[msg_id] = work  # type: ignore[assignment]
        self._work.add(work)
        self.pace()

    async def _finish(self, msg_id: Any, answer: Awaitable[Any]) -> None:
        result, failure = None, None
        try:
            result = await answer
        except Exception as error:
            failure = error
        self._tell(asyncio.current_task(), msg_id, result, failure)

    def _notified(self, method: str, params: Any) -> None:
        if method == lsp.CANCEL_REQUEST:
            self._cancel(params)
        elif method in self.fm.builtin_features and method not in (lsp.INITIALIZE, lsp.SHUTDOWN):
            try:
                self.fm.builtin_features[method](params)
            except InvalidInputError as error:
                logger.warning("%s was ignored: %s", method, error)

    def _cancel(self, params: Any) -> None:
        msg_id: Any = params.get("id") if isinstance(params, dict) else None
        if type(msg_id) in (int, str) and (work := self._request_futures.pop(msg_id, None)):
            # pygls would stop it at its next await, in the middle of a write.
            self._unwanted.add(work)
            self._refuse(msg_id, JsonRpcRequestCancelled("Request Cancelled"))

    def answering(self, method: str, handler: Handler) -> Callable[[Any], Awaitable[Any]]:
        """Return *handler* as a feature: params structured, result unstructured, never cut short.

        A cancelled request loses its answer. Its work is done all the same.
        """
        shape = protocol.METHODS[method]

        async def answer(params: Any) -> Any:
            typed = _structure(params, shape.params)
            return protocol.wire.unstructure(await handler(self._server, typed), shape.result)

        return answer

    # -- what goes out ---------------------------------------------------------------------------

    def _send_handler_result(self, future: Any, *, msg_id: Any) -> None:
        # pygls logs, and sends, the traceback of what it does not know.
        failure = future.exception()
        self._tell(future, msg_id, None if failure else future.result(), failure)

    def _tell(self, work: Any, msg_id: Any, result: Any, failure: BaseException | None) -> None:
        """Answer a request with what its *work* came to, unless nobody wants to know."""
        self._work.discard(work)
        if work in self._unwanted:
            self._unwanted.remove(work)
        else:
            self._request_futures.pop(msg_id, None)
            self._answer(msg_id, result, failure)
        self.pace()

    def _answer(self, msg_id: Any, result: Any, failure: BaseException | None) -> None:
        if failure is None:
            try:
                self._send_response(msg_id, result)
                return
            except (ValueError, RecursionError) as unsayable:
                failure = unsayable
        self._refuse(msg_id, _for_the_wire(failure))

    def _refuse(self, msg_id: Any, error: JsonRpcException) -> None:
        self._send_response(msg_id, error=error.to_response_error())

    def _send_response(self, msg_id: Any, result: Any = None, error: Any = None) -> None:
        # As a raw dict: lsprotocol's own message drops an id of null.
        response: dict[str, Any] = {"jsonrpc": self.VERSION, "id": msg_id}
        if error is None:
            response["result"] = result
        else:
            response["error"] = {"code": error.code, "message": error.message}
            if error.data is not None:
                response["error"]["data"] = error.data
        self._send_data(response)

    def _send_data(self, data: Any) -> None:
        if self.writer is not None:
            # Who is asked much at once answers much at once: one write for all of it.
            more = bool(self._request_futures)
            self.writer.write(_encoder.encode(data).encode(), more=more)  # type: ignore[call-arg]

    async def room(self) -> None:
        """Wait until the answer to the current request can be taken."""
        writer: Any = self.writer
        await writer.room()
        # An end has little time: it goes to what was asked to be stored.
        task: Any = asyncio.current_task()
        if writer.is_in_vain and task.get_name() in _QUESTIONS:
            raise JsonRpcRequestCancelled("Nobody reads the answer")

    def pace(self) -> None:
        """Read on, unless the client is too far ahead of our answers, or behind with them."""
        if self._reader is None or self.stopped.is_set():
            return
        in_flight = len(self._request_futures) + len(self._unwanted)
        if in_flight > MAX_IN_FLIGHT or self.writer.is_behind:  # type: ignore[union-attr]
            self._reader.pause()
        else:
            self._reader.resume()


def _structure(params: Any, kind: type) -> Any:
    # Lua has one empty table: what is left out, null or [] is read as {}.
    return strict.structure(
        protocol.wire, {} if params in (None, []) else params, kind, strict.camel_case
    )


def _decode(body: bytes) -> Any:
    # Without pygls' object_hook, which takes a "jsonrpc" in what people said for a message.
    text = body.decode()
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # An integer of over 4,300 digits: read it as NaN, which is refused where the id is known.
        return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float("nan")


def _what_is_wrong(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return f"not UTF-8 at byte {error.start}"
        case json.JSONDecodeError():
            return f"{error.msg} at character {error.pos}"
        case _:
            return "nested too deeply"


def _for_the_wire(error: BaseException) -> JsonRpcException:
    match error:
        case JsonRpcException():
            return error
        case InvalidInputError():
            faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            return JsonRpcInvalidParams(f"Invalid Params: {error}", data={"errors": faults})
        case SegueError():
            details = {strict.camel_case(name): at for name, at in error.details().items()}
            data = {"kind": error.kind, **details}
            return JsonRpcException(str(error), lsp.LSPErrorCodes.RequestFailed.value, data)
        case _:
            # Its message and its traceback may hold what people said: only its name is told.
            logger.error("A request failed inside: %s", type(error).__name__)
            return JsonRpcInternalError(f"Internal Error: {type(error).__name__}")
