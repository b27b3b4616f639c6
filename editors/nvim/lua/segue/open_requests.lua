--- The requests that open a session: by parameters, by id, a new one, a fork, or in place of another.

local config = require("segue.config")
local server = require("segue.server")
local workspaces = require("segue.workspace")

local M = {}

---@alias segue.OpenCallback fun(err?: segue.Error, result?: table) The result is that of `session/open`

--- The parameters of `session/open` for these options and the user's settings.
---@param opts segue.OpenOptions
---@return table params
function M.params(opts)
  return {
    workspace = workspaces.to_wire(opts.workspace or workspaces.of_buffer()),
    continueMinutes = config.get().continue_minutes,
    sessionId = opts.session_id,
    mode = opts.mode,
    tail = opts.tail,
  }
end

--- Open a session by the parameters of `session/open`.
---@param params table
---@param callback segue.OpenCallback
function M.open(params, callback)
  server.request("session/open", params, function(err, result)
    if result then
      require("segue.relocation").mention(result.moved)
    end
    callback(err, result)
  end)
end

--- Open a new session, whatever could be resumed.
---@param workspace string
---@param callback segue.OpenCallback
function M.open_new(workspace, callback)
  M.open(M.params({ workspace = workspace, mode = "new", tail = 0 }), callback)
end

--- Open a session without its events, whatever became of its folder.
---@param id string
---@param callback segue.OpenCallback
function M.reopen(id, callback)
  M.open({ sessionId = id, tail = 0 }, callback)
end

--- Fork a session, and open the fork. Sent again with the same params, it makes no second fork.
---@param params table of `session/fork`, with a `newSessionId`
---@param callback segue.OpenCallback
function M.fork(params, callback)
  server.request("session/fork", params, function(err, result)
    if result then
      result.resumed = false -- it is new, though the server resumes what it has made
    end
    callback(err, result)
  end)
end

--- Archive a session and open a new one in its place.
---@param workspace string
---@param id? string nil if there is nothing to archive
---@param callback segue.OpenCallback
function M.reset(workspace, id, callback)
  if not id then
    return M.open_new(workspace, callback)
  end
  server.request("session/reset", { sessionId = id }, function(err, result)
    if not err or (err.kind ~= "SessionNotOpen" and err.kind ~= "ServerGone") then
      return callback(err, result)
    end
    -- The server was restarted and does not have the session open: do in two requests what
    -- `session/reset` does in one.
    server.request("session/archive", { sessionId = id }, function(archive_err)
      if archive_err and archive_err.kind ~= "SessionNotFound" then
        return callback(archive_err)
      end
      M.open_new(workspace, callback)
    end)
  end)
end

return M
