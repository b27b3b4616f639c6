--- Which workspace a buffer belongs to: |segue-workspace|.

local json = require("segue.json")

local M = {}

--- The error where the workspace of a buffer is unknown.
M.UNKNOWN = {
  code = -32602,
  message = "the working directory is gone: open a file, or change it with :cd",
  data = {},
}

local last_cwd ---@type string? The working directory, when there was one
local roots = {} ---@type table<string, string> git root by directory, for directories that go away

---@param directory string
---@return boolean
local function exists(directory)
  return vim.uv.fs_stat(directory) ~= nil
end

-- A home directory that is itself a repository is no root for the folders in it.
---@param directory string
---@return string?
local function find_git_root(directory)
  local found = vim.fs.find(".git", { upward = true, path = directory })[1]
  local root = found and vim.fs.dirname(found)
  local home = vim.fs.normalize("~")
  if root and not (root == home and vim.fs.normalize(directory) ~= home) then
    return root
  end
end

---@param directory string
---@return string?
local function git_root(directory)
  local root = find_git_root(directory)
  if root or exists(directory) then
    roots[directory] = root
  end
  return roots[directory]
end

---@return string?
local function working_directory()
  local cwd = vim.fn.getcwd()
  if cwd ~= "" then
    last_cwd = cwd
    return cwd
  end
  -- The directory was removed. What is said is still about it.
  local shell_cwd = vim.env.PWD
  return last_cwd or (shell_cwd and shell_cwd:sub(1, 1) == "/" and shell_cwd or nil)
end

-- nil for a buffer that is not about a folder of this machine.
---@param buffer integer
---@return string?
local function buffer_directory(buffer)
  local name = vim.api.nvim_buf_get_name(buffer)
  local kind = vim.bo[buffer].buftype
  local is_windows = vim.fn.has("win32") == 1
  name = not is_windows and name:match("^oil://(/.*)$") or name
  if name == "" or name:find("^%a[%w+.-]+://") or not (is_windows or name:sub(1, 1) == "/") then
    return nil
  elseif vim.fn.isdirectory(name) == 1 then
    return vim.fs.normalize(name)
  elseif kind == "" or kind == "acwrite" then
    return vim.fs.dirname(vim.fs.normalize(name))
  end
end

--- The workspace of a buffer: `b:segue_workspace`; else the git root of its file or folder; else
--- the git root of the working directory; else the working directory. nil if that is gone, too,
--- and was never known.
---@param buffer? integer (default: the current one)
---@return string?
function M.of_buffer(buffer)
  buffer = buffer or vim.api.nvim_get_current_buf()
  local own = vim.b[buffer].segue_workspace
  if type(own) == "string" and own ~= "" then
    return own
  end
  local directory = buffer_directory(buffer)
  local root = directory and git_root(directory)
  if root then
    return root
  end
  local cwd = working_directory()
  return cwd and (git_root(cwd) or cwd)
end

--- The workspace as the server is told: a path whose bytes are not UTF-8 as a URI.
---@param workspace? string
---@return string?
function M.to_wire(workspace)
  if workspace and json.to_utf8(workspace) ~= workspace then
    return vim.uri_from_fname(workspace)
  end
  return workspace
end

--- One name for each workspace, however it is spelled: a path or a file URI of a folder in it.
---@param workspace string
---@return string
function M.key(workspace)
  local path = workspace:find("^file:") and vim.uri_to_fname(workspace) or workspace
  path = vim.fs.normalize(path)
  path = git_root(path) or path
  return vim.uv.fs_realpath(path) or path
end

return M
