--- Goes on with an imported conversation in the program that it was had in, in a terminal.

local config = require("segue.config")
local programs = require("segue.programs")

local M = {}

---@class segue.OwnProgram
---@field name string What people call it: "Claude Code"
---@field command string[]
---@field path? string Of the program, if it is here
---@field directory string
---@field obstacle? string Why it cannot be started here

---@type table<string, integer> buffers by command
local terminals = {}

---@param program segue.OwnProgram
---@return string
local function key(program)
  return table.concat(program.command, "\0")
end

--- Find the program that a session was imported from; nil if the session goes on in editors only, or
--- the server cannot say.
---@param id string
---@param callback fun(program?: segue.OwnProgram)
function M.find(id, callback)
  local params = { sessionId = id }
  require("segue.server").request("session/resumeCommand", params, function(err, result)
    if err or result.command == vim.NIL then
      return callback(nil)
    end
    local program = {
      name = result.program,
      command = result.command,
      path = programs.find(result.command[1]),
      directory = result.directory,
    }
    if not program.path then
      program.obstacle = program.command[1] .. " is not on the PATH"
      return callback(program)
    end
    -- Not at once: a mount may hang.
    vim.uv.fs_stat(program.directory, function(_, stat)
      if not stat or stat.type ~= "directory" then
        program.obstacle = "its folder is gone"
      end
      vim.schedule(function()
        callback(program)
      end)
    end)
  end)
end

---@param argument string
---@return string
local function quote(argument)
  return argument:find("^[%w_@%%+=:,./-]+$") and argument or vim.fn.shellescape(argument)
end

---@param program segue.OwnProgram
---@return string
local function shell_command(program)
  local words = table.concat(vim.tbl_map(quote, program.command), " ")
  return ("cd %s && %s"):format(quote(program.directory), words)
end

--- Yank the command for a shell, and say why it was not run.
---@param program segue.OwnProgram with an obstacle
function M.yank(program)
  local command = shell_command(program)
  vim.fn.setreg('"', command)
  local register = '"'
  if vim.fn.has("clipboard") == 1 and pcall(vim.fn.setreg, "+", command) then
    register = "+"
  end
  local message = "%s; its command is in the register %s: %s"
  config.notify(message:format(program.obstacle, register, command), vim.log.levels.WARN)
end

---@param program segue.OwnProgram
---@return integer? buffer of the terminal in which it runs
local function running_terminal(program)
  local buffer = terminals[key(program)]
  local is_valid = buffer and vim.api.nvim_buf_is_valid(buffer)
  local job = is_valid and vim.b[buffer].terminal_job_id
  return job and vim.fn.jobwait({ job }, 0)[1] == -1 and buffer or nil
end

--- Show the terminal in which the conversation goes on already.
---@param program segue.OwnProgram
---@param mods table of |nvim_cmd()|
---@return boolean shown false if there is none
function M.show_running(program, mods)
  local buffer = running_terminal(program)
  if not buffer then
    return false
  end
  local window = vim.iter(vim.api.nvim_tabpage_list_wins(0)):find(function(each)
    return vim.api.nvim_win_get_buf(each) == buffer
  end)
  if window then
    vim.api.nvim_set_current_win(window)
  else
    vim.cmd({ cmd = "sbuffer", args = { tostring(buffer) }, mods = mods })
  end
  vim.cmd.startinsert()
  return true
end

--- Run the program in a terminal in a new window, without a shell; if it cannot be started, yank its
--- command.
---@param program segue.OwnProgram
---@param mods table of |nvim_cmd()|
function M.run(program, mods)
  if program.obstacle then
    return M.yank(program)
  end
  local argv = vim.list_extend({ program.path }, program.command, 2)
  vim.cmd({ cmd = "new", mods = mods })
  local buffer = vim.api.nvim_get_current_buf()
  local ok, job = pcall(vim.fn.jobstart, argv, { term = true, cwd = program.directory })
  if not ok or job <= 0 then
    vim.cmd.bwipeout({ bang = true })
    program.obstacle = argv[1] .. " could not be started"
    return M.yank(program)
  end
  terminals[key(program)] = buffer
  vim.b[buffer].segue_workspace = program.directory
  vim.cmd.startinsert()
end

return M
