--- Asks the server to tell this Neovim what any window or editor stores in a session, and that the
--- lists of sessions change.

local server = require("segue.server")

local M = {}

---@class segue.Follower
---@field known_seq fun(): integer The seq of the last event that is known
---@field on_append fun() Called when there are newer ones

---@type table<string, segue.Follower> by session
local followers = {}

---@type table<integer, fun()> by the buffer that shows a list
local list_followers = {}

---@param method segue.Method
---@param params table
local function ask(method, params)
  if vim.v.exiting == vim.NIL then
    -- Without an answer: the session may be deleted, and a server that is gone is asked anew.
    server.request(method, params, function() end)
  end
end

---@param session_id string
---@param follower segue.Follower
local function ask_to_follow(session_id, follower)
  ask("session/follow", { sessionId = session_id, after = follower.known_seq() })
end

--- Follow a session, until `unfollow`, also after a restart of the server.
---@param session_id string
---@param follower segue.Follower Takes the place of the one before
function M.follow(session_id, follower)
  followers[session_id] = follower
  ask_to_follow(session_id, follower)
end

--- Follow a session no longer. One that is not followed is left as it is.
---@param session_id string
function M.unfollow(session_id)
  if followers[session_id] then
    followers[session_id] = nil
    ask("session/unfollow", { sessionId = session_id })
  end
end

--- Handle `session/didAppend`.
---@param params { sessionId: string, session: table|userdata }
function M.on_append(params)
  local follower = followers[params.sessionId]
  if follower and params.session == vim.NIL then
    followers[params.sessionId] = nil -- it was deleted
  elseif follower then
    follower.on_append()
  end
end

--- Call *on_change* when a list of sessions may have changed, until `unfollow_lists`, also after a
--- restart of the server.
---@param buffer integer that shows a list
---@param on_change fun()
function M.follow_lists(buffer, on_change)
  list_followers[buffer] = on_change
  ask("session/follow", vim.empty_dict())
end

--- Follow the lists no longer for a buffer.
---@param buffer integer
function M.unfollow_lists(buffer)
  if list_followers[buffer] then
    list_followers[buffer] = nil
    if not next(list_followers) then
      ask("session/unfollow", vim.empty_dict())
    end
  end
end

--- Handle `session/didChangeList`.
function M.on_list_change()
  for _, on_change in pairs(list_followers) do
    on_change()
  end
end

--- Follow what was followed before, on the server that has started.
function M.after_start()
  for session_id, follower in pairs(followers) do
    ask_to_follow(session_id, follower)
  end
  if next(list_followers) then
    ask("session/follow", vim.empty_dict())
    M.on_list_change() -- what has changed meanwhile
  end
end

return M
