--- The ways in which the server opens a session.

local config = require("segue.config")
local server = require("segue.server")

local M = {}

---@alias segue.Opened fun(err?: segue.Error, result?: table) The result is that of `session/open`

---@param opts segue.OpenOptions
---@return table params of `session/open`
function M.params(opts)
  return {
    workspace = opts.workspace or server.workspace(),
    continueMinutes = config.get().continue_minutes,
    sessionId = opts.session_id,
    mode = opts.mode,
    tail = opts.tail,
  }
end

---@param params table
---@param done segue.Opened
function M.ask(params, done)
  server.request("session/open", params, done)
end

---@param workspace string
---@param done segue.Opened
function M.anew(workspace, done)
  M.ask(M.params({ workspace = workspace, mode = "new", tail = 0 }), done)
end

--- Open what this Neovim had open before.
---@param workspace string
---@param id string
---@param done segue.Opened
function M.again(workspace, id, done)
  M.ask({ workspace = workspace, sessionId = id, tail = 0 }, done)
end

--- Archive a session and open a new one in its place.
---@param workspace string
---@param id? string nil if there is nothing to archive
---@param done segue.Opened
function M.in_place_of(workspace, id, done)
  if not id then
    return M.anew(workspace, done)
  end
  server.request("session/reset", { sessionId = id }, function(err, result)
    if not err or (err.kind ~= "SessionNotOpen" and err.kind ~= "ServerGone") then
      return done(err, result)
    end
    -- The server is another one than the one that had it open.
    server.request("session/archive", { sessionId = id }, function(archive_err)
      if archive_err and archive_err.kind ~= "SessionNotFound" then
        return done(archive_err)
      end
      M.anew(workspace, done)
    end)
  end)
end

return M
