--- A checkout that was moved: which one the server suspects, and what the user says about it.

local config = require("segue.config")
local text = require("segue.text")
local workspaces = require("segue.workspace")

local M = {}

local NOTICE = "“%s” and more was said in %s, which is gone; if it was moved here: :Segue relocate"
local QUESTION = "%s is gone. Was it moved to %s?"
local ANSWERS = { "Yes, take its conversations along", "No" }

---@type table<string, true> roots that the user was told about
local told = {}

--- Tell the user, once for each, of a checkout that was moved here, maybe.
---@param moved? table `moved` of a result of the protocol
function M.mention(moved)
  if not moved or moved == vim.NIL then
    return
  end
  local key = moved.oldRoot .. "\0" .. moved.newRoot
  if not told[key] then
    told[key] = true
    local title = moved.session.title
    local name = require("segue.format").title({ title = title ~= vim.NIL and title or nil })
    config.notify(NOTICE:format(name, text.one_line(moved.oldRoot)))
  end
end

---@param moved table
---@param declined boolean
local function relocate(moved, declined)
  local params = { oldRoot = moved.oldRoot, newRoot = moved.newRoot, declined = declined }
  require("segue.server").request("session/relocate", params, function(err, result)
    if err then
      config.notify(err.message, vim.log.levels.ERROR)
    elseif not declined then
      local count = require("segue.format").count(result.moved, "conversation")
      config.notify(("%s taken along; :Segue list lists them"):format(count))
    end
  end)
end

--- Ask about the checkout that was moved to this workspace, maybe, and do as the user says.
function M.ask()
  local params = { workspace = workspaces.to_wire(workspaces.of_buffer()), continueMinutes = 1 }
  if not params.workspace then
    return config.notify(workspaces.UNKNOWN.message, vim.log.levels.ERROR)
  end
  require("segue.server").request("session/findResumable", params, function(err, found)
    if err then
      return config.notify(err.message, vim.log.levels.ERROR)
    end
    local moved = found.moved
    if not moved or moved == vim.NIL then
      return config.notify("no conversation is known of a checkout that was moved here")
    end
    local question = QUESTION:format(text.one_line(moved.oldRoot), text.one_line(moved.newRoot))
    vim.ui.select(ANSWERS, { prompt = question, kind = "segue_relocate" }, function(_, index)
      if index then
        relocate(moved, index == 2)
      end
    end)
  end)
end

return M
