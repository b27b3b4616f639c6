--- The subcommands of :Segue.

local config = require("segue.config")
local text = require("segue.text")

local M = {}

---@class segue.Call
---@field args string[] What stands after the subcommand
---@field rest string The same as one text
---@field lines? string[] The lines of the range, or the selected text
---@field mods table

---@type segue.SessionInfo[] for completion, which must not wait for the server
local known = {}

---@param err segue.Error
local function say_failed(err)
  if err.kind ~= "ServerNotFound" then
    config.notify(err.message, vim.log.levels.ERROR)
  end
end

---@param callback fun(result: any)
---@return fun(err?: segue.Error, result?: any)
local function unless_failed(callback)
  return function(err, result)
    if err then
      say_failed(err)
    else
      callback(result)
    end
  end
end

---@param opts segue.ListOptions
---@param callback fun(sessions: segue.SessionInfo[])
local function list(opts, callback)
  require("segue").list(opts, unless_failed(function(page)
    known = page.sessions
    callback(known)
  end))
end

---@param session segue.SessionInfo
---@return string
local function described(session)
  return ("%s · %s · %s%s"):format(
    text.title(session),
    text.age(session.updated_at),
    text.count(session.event_count, "event"),
    session.archived_at and " · archived" or ""
  )
end

---@param call segue.Call
---@param callback fun(id: string)
local function chosen_or_current(call, callback)
  local current = require("segue").current()
  local id = call.args[1] or (current and current.id)
  if id then
    callback(id)
  else
    config.notify("no conversation is open here; name one: :Segue list", vim.log.levels.WARN)
  end
end

---@return table? integration that shows conversations itself
local function chat_plugin()
  if config.get().integrations.codecompanion == false then
    return nil
  end
  local found, integration = pcall(require, "segue.integrations.codecompanion")
  if found and integration.available() then
    return integration
  end
end

---@param id string
---@param mods table
local function resume(id, mods)
  require("segue").open({ session_id = id, tail = 1000 }, unless_failed(function(session)
    local integration = chat_plugin()
    if integration then
      integration.restore(session)
    else
      require("segue.transcript").show(session.id, mods)
    end
  end))
end

---@param chunks [string, string?][]
local function echo(chunks)
  vim.api.nvim_echo(chunks, false, {})
end

---@type table<string, fun(call: segue.Call)>
local subcommands = {}

function subcommands.resume(call)
  if call.args[1] then
    return resume(call.args[1], call.mods)
  end
  list({}, function(sessions)
    if #sessions == 0 then
      return config.notify("there is no conversation of this workspace yet")
    end
    vim.ui.select(sessions, {
      prompt = "Resume a conversation",
      kind = "segue",
      format_item = described,
    }, function(session)
      if session then
        resume(session.id, call.mods)
      end
    end)
  end)
end

function subcommands.new()
  require("segue").reset({}, unless_failed(function()
    config.notify("a new conversation begins here")
  end))
end

function subcommands.list(call)
  local everywhere = vim.list_contains(call.args, "all")
  list({
    cwd = not everywhere and nil,
    archived = everywhere or vim.list_contains(call.args, "archived"),
  }, function(sessions)
    if #sessions == 0 then
      return config.notify("there is no conversation here yet")
    end
    local current = require("segue").current()
    local chunks = {}
    for place, session in ipairs(sessions) do
      local is_current = current and current.id == session.id
      table.insert(chunks, { is_current and "* " or "  ", "Special" })
      table.insert(chunks, { session.id, "Identifier" })
      table.insert(chunks, { "  " .. described(session) .. (place < #sessions and "\n" or "") })
    end
    echo(chunks)
  end)
end

function subcommands.show(call)
  chosen_or_current(call, function(id)
    require("segue.transcript").show(id, call.mods)
  end)
end

function subcommands.archive(call)
  chosen_or_current(call, function(id)
    require("segue").archive({ session_id = id }, unless_failed(function()
      config.notify("the conversation is archived; :Segue resume " .. id .. " brings it back")
    end))
  end)
end

---@param id string
---@return string
local function named(id)
  for _, session in ipairs({ require("segue").current() or {}, unpack(known) }) do
    if session.id == id then
      return ("“%s” (%s)"):format(text.title(session), id)
    end
  end
  return id
end

function subcommands.delete(call)
  chosen_or_current(call, function(id)
    vim.ui.select({ "Keep it", "Delete it" }, {
      prompt = ("Delete %s and its text for good?"):format(named(id)),
      kind = "segue_delete",
    }, function(answer)
      if answer == "Delete it" then
        require("segue").delete({ session_id = id }, unless_failed(function()
          config.notify("the conversation is deleted")
        end))
      end
    end)
  end)
end

---@param lines [string, string][]
local function echo_table(lines)
  local chunks = {}
  for place, line in ipairs(lines) do
    table.insert(chunks, { ("%-10s"):format(line[1]), "Title" })
    table.insert(chunks, { line[2] .. (place < #lines and "\n" or "") })
  end
  echo(chunks)
end

---@return [string, string]
local function server_line()
  local info = require("segue.server").info()
  local words = { info.state }
  if info.pid then
    table.insert(words, ("process %d"):format(info.pid))
  end
  if info.version then
    table.insert(words, 1, info.version)
  end
  return { "server", table.concat(words, ", ") }
end

function subcommands.info()
  local session = require("segue").current()
  if not session then
    local server = require("segue.server")
    local params = {
      workspace = server.workspace(),
      continueMinutes = config.get().continue_minutes,
    }
    return server.request("session/findResumable", params, unless_failed(function(found)
      local next_one = found.session ~= vim.NIL and found.session.title or nil
      echo_table({
        { "session", "none is open here yet" },
        { "next", next_one and ("goes on with “%s”"):format(next_one) or "begins a new one" },
        { "why", found.reason },
        server_line(),
      })
    end))
  end
  local lines = {
    { "session", session.id },
    { "title", text.title(session) },
    { "where", session.git_root or session.directory },
    { session.resumed and "resumed" or "new", session.reason },
    { "events", tostring(session.event_count) },
    { "unsent", tostring(require("segue.session").unsent()) },
    server_line(),
  }
  for place, other in ipairs(session.alternatives) do
    table.insert(lines, { place == 1 and "or else" or "", described(other) .. "  " .. other.id })
  end
  echo_table(lines)
end

function subcommands.log(call)
  local path = vim.lsp.log.get_filename()
  vim.cmd({ cmd = "split", args = { path }, mods = call.mods, magic = { file = false } })
end

local APPENDED = { "user_message", "text" }

function subcommands.append(call)
  local type = call.args[1]
  if not vim.list_contains(APPENDED, type) then
    return config.notify(
      "what is appended is one of: " .. table.concat(APPENDED, ", "),
      vim.log.levels.ERROR
    )
  end
  local given = call.rest:match("^%S+%s+(.*)$")
  local content = given and vim.trim(given) ~= "" and given
    or call.lines and table.concat(call.lines, "\n")
  if not content then
    return config.notify("append what? Give a text or a range", vim.log.levels.ERROR)
  end
  require("segue").append({ type = type, data = { content = content } })
end

---@return string[]
local function subcommand_names()
  local names = vim.tbl_keys(subcommands)
  table.sort(names)
  return names
end

---@param command table of |nvim_create_user_command()|
---@return string[]?
local function ranged_lines(command)
  if command.range == 0 then
    return nil
  end
  local from, to = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  local mode = vim.fn.visualmode()
  -- A range of just the selected lines was made from the selection: a part of a line counts.
  if mode ~= "" and mode ~= "V" and from[2] == command.line1 and to[2] == command.line2 then
    return vim.fn.getregion(from, to, { type = mode })
  end
  return vim.api.nvim_buf_get_lines(0, command.line1 - 1, command.line2, false)
end

--- Run `:Segue {subcommand} …`.
---@param command table of |nvim_create_user_command()|
function M.run(command)
  local name, rest = command.args:match("^(%S+)%s*(.*)$")
  local subcommand = subcommands[name]
  if not subcommand then
    return config.notify(
      ("there is no :Segue %s; there are: %s"):format(
        name,
        table.concat(subcommand_names(), ", ")
      ),
      vim.log.levels.ERROR
    )
  end
  require("segue.server").forgive()
  subcommand({
    args = vim.split(rest, "%s+", { trimempty = true }),
    rest = rest,
    lines = ranged_lines(command),
    mods = command.smods,
  })
end

---@return string[]
local function ids()
  -- For the next time: an answer cannot be waited for while somebody types.
  require("segue").list({}, function(err, page)
    if not err then
      known = page.sessions
    end
  end)
  local current = require("segue").current()
  local all = current and { current.id } or {}
  for _, session in ipairs(known) do
    if not current or session.id ~= current.id then
      table.insert(all, session.id)
    end
  end
  return all
end

---@type table<string, fun(): string[]>
local arguments = {
  resume = ids,
  show = ids,
  archive = ids,
  delete = ids,
  list = function()
    return { "all", "archived" }
  end,
  append = function()
    return APPENDED
  end,
}

--- Complete `:Segue …`.
---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line:match("Segue!?%s+(.*)$") or "", "%s+")
  local found = {}
  if #words <= 1 then
    found = subcommand_names()
  elseif #words == 2 and arguments[words[1]] then
    found = arguments[words[1]]()
  end
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, found)
end

return M
