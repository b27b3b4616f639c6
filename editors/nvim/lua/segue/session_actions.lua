--- What can be done with a session, by a command or a key of the list.

local config = require("segue.config")
local format = require("segue.format")
local text = require("segue.text")

local M = {}

---@type segue.SessionInfo[] of the last list, for completion, which must not wait for the server
local listed = {}

--- What is known of a session without a request.
---@param id string
---@return { title?: string }? session
function M.find_known(id)
  local conversation = require("segue.registry").of_session(id)
  if conversation and conversation.record and conversation.record.id == id then
    return conversation.record
  end
  return vim.iter(listed):find(function(session)
    return session.id == id
  end)
end

--- A callback that notifies the user of an error.
---@param callback fun(result: any)
---@return fun(err?: segue.Error, result?: any)
function M.on_success(callback)
  return function(err, result)
    if not err then
      callback(result)
    elseif err.kind ~= "ServerNotFound" then -- of which the server module has notified
      config.notify(err.message, vim.log.levels.ERROR)
    end
  end
end

--- List sessions, and remember them for `listed`. An error is shown to the user.
---@param opts segue.ListOptions
---@param callback fun(sessions: segue.SessionInfo[], has_more: boolean)
function M.list(opts, callback)
  require("segue").list(opts, M.on_success(function(page)
    listed = page.sessions
    callback(listed, page.next_cursor ~= nil)
  end))
end

--- The sessions of the last list.
---@return segue.SessionInfo[]
function M.listed()
  return listed
end

--- Remember sessions for `listed`.
---@param sessions segue.SessionInfo[]
function M.remember(sessions)
  listed = sessions
end

--- A session on one line.
---@param session segue.SessionInfo
---@return string
function M.describe(session)
  local parts = {
    format.title(session),
    format.age(session.updated_at),
    format.count(session.event_count, "event"),
  }
  table.insert(parts, format.origin(session))
  table.insert(parts, session.archived_at and "archived")
  table.insert(parts, session.shared_by and "shared by " .. text.one_line(session.shared_by))
  return table.concat(parts, " · ")
end

--- The integration of an installed chat plugin, which shows conversations itself.
---@return table?
function M.chat_integration()
  if config.get().integrations.codecompanion == false then
    return nil
  end
  local found, integration = pcall(require, "segue.integrations.codecompanion")
  if found and integration.available() then
    return integration
  end
end

-- Looked for by its file: most users have other plugins.
---@param plugin string
---@return boolean
local function is_installed(plugin)
  return #vim.api.nvim_get_runtime_file(("lua/%s/init.lua"):format(plugin), false) > 0
end

--- Show a session: as a chat, if there is a plugin for it, else as a transcript.
---@param session segue.Session
---@param mods table
---@param replaced_id? string The session whose place it takes
function M.show(session, mods, replaced_id)
  if is_installed("agentic") and require("segue.integrations.agentic").restore(session) then
    return
  end
  if is_installed("CopilotChat") then
    local copilot_chat = require("segue.integrations.copilot_chat")
    if copilot_chat.accepts(session) then
      return copilot_chat.restore(session)
    end
  end
  local integration = M.chat_integration()
  if integration then
    integration.restore(session, replaced_id)
  else
    require("segue.transcript").show(session.id, mods, replaced_id)
  end
end

---@param id string
---@param mods table
local function resume_in_editor(id, mods)
  require("segue").open({ session_id = id, tail = 1000 }, M.on_success(function(session)
    M.show(session, mods)
  end))
end

-- Whether a session, as the last list has it, went on elsewhere since it was imported.
---@param id string
---@param program segue.OwnProgram
---@return boolean
local function went_on_elsewhere(id, program)
  local session = vim.iter(listed):find(function(each)
    return each.id == id
  end)
  return session ~= nil and session.client ~= nil and session.client ~= program.name
end

---@param id string
---@param program segue.OwnProgram
---@return string
local function describe_program(id, program)
  if program.obstacle then
    return ("In %s: yank its command (%s)"):format(program.name, program.obstacle)
  elseif went_on_elsewhere(id, program) then
    return ("In %s, without what was said elsewhere since"):format(program.name)
  end
  return ("In %s, in a terminal"):format(program.name)
end

---@param id string
---@param program segue.OwnProgram
---@param mods table
local function choose_where_to_resume(id, program, mods)
  local known = M.find_known(id)
  vim.ui.select({ "In a chat", describe_program(id, program) }, {
    prompt = ("Go on with %s"):format(known and "“" .. format.title(known) .. "”" or id),
    kind = "segue_resume",
  }, function(_, index)
    if index == 1 then
      resume_in_editor(id, mods)
    elseif index == 2 then
      require("segue.own_program").run(program, mods)
    end
  end)
end

--- Resume a session: in a chat, or in the program that it was had in, if it was imported.
---@param id string
---@param mods table
function M.resume(id, mods)
  local integration = M.chat_integration()
  if integration and integration.is_open(id) then
    return resume_in_editor(id, mods)
  end
  local own_program = require("segue.own_program")
  own_program.find(id, function(program)
    if not program then
      resume_in_editor(id, mods)
    elseif own_program.show_running(program, mods) then
      return
    elseif integration then
      choose_where_to_resume(id, program, mods)
    else
      own_program.run(program, mods)
      if program.obstacle then
        resume_in_editor(id, mods)
      elseif went_on_elsewhere(id, program) then
        local message = "%s does not know what was said elsewhere since"
        config.notify(message:format(program.name), vim.log.levels.WARN)
      end
    end
  end)
end

--- Give a session a title; nil: the automatic one.
---@param id string
---@param title? string
function M.set_title(id, title)
  require("segue").set_title({ session_id = id, title = title }, M.on_success(function(session)
    local integration = package.loaded["segue.integrations.codecompanion"]
    if integration then
      integration.show_title(session)
    end
    local transcript = package.loaded["segue.transcript"]
    if transcript then
      transcript.show_title(session)
    end
    config.notify(("renamed to “%s”"):format(format.title(session)))
  end))
end

--- Ask for a new title of a session. An empty one brings the automatic title back.
---@param session { id: string, title?: string }
function M.rename(session)
  local known = M.find_known(session.id) or session
  vim.ui.input({ prompt = "Title: ", default = known.title or "" }, function(input)
    if input then
      local title = text.one_line(input)
      M.set_title(session.id, title ~= "" and title or nil)
    end
  end)
end

--- Go on in a fork of a session.
---@param opts segue.ForkOptions
---@param mods table
function M.fork(opts, mods)
  opts.tail = 0
  require("segue").fork(opts, M.on_success(function(fork)
    M.show(fork, mods)
    config.notify(("forked as “%s”"):format(format.title(fork)))
  end))
end

--- Archive a session; nil: the current one.
---@param id? string
function M.archive(id)
  require("segue").archive({ session_id = id }, M.on_success(function(archived)
    local command = ":Segue resume " .. archived.session_id
    config.notify("archived the conversation; to resume it: " .. command)
  end))
end

--- Bring an archived session back.
---@param id string
function M.unarchive(id)
  require("segue.registry").unarchive(id, M.on_success(function()
    config.notify("the conversation is no longer archived")
  end))
end

---@param id string
---@return string
local function describe_id(id)
  local session = M.find_known(id)
  return session and ("“%s” (%s)"):format(format.title(session), id) or id
end

--- Delete a session, after confirmation.
---@param id string
function M.delete(id)
  vim.ui.select({ "Keep it", "Delete it" }, {
    prompt = ("Delete %s and all its events permanently?"):format(describe_id(id)),
    kind = "segue_delete",
  }, function(choice)
    if choice == "Delete it" then
      require("segue").delete({ session_id = id }, M.on_success(function()
        config.notify("deleted the conversation")
      end))
    end
  end)
end

return M
