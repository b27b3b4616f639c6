-- A Neovim with a screen, inside of the one that runs the tests.

local M = {}

--- Start a Neovim with a screen of 60 columns and 12 lines, unless others are given.
---@return table child
function M.start(t, commands, columns, lines)
  local plugin = vim.api.nvim_get_runtime_file("plugin/segue.lua", false)[1]
  local command = { vim.v.progpath, "--clean", "--embed" }
  vim.list_extend(command, { "--cmd", "set rtp^=" .. vim.fs.dirname(vim.fs.dirname(plugin)) })
  local channel = vim.fn.jobstart(command, { rpc = true })
  local child = {}
  function child.request(...)
    return vim.rpcrequest(channel, ...)
  end
  function child.lua(code, ...)
    return child.request("nvim_exec_lua", code, { ... })
  end
  -- Without a wait: a request would be answered only after the prompt.
  function child.run(code, ...)
    vim.rpcnotify(channel, "nvim_exec_lua", code, { ... })
    vim.wait(150)
  end
  function child.mode()
    return child.request("nvim_get_mode")
  end
  function child.last_line()
    return child.lua([[
      local cells = {}
      for column = 1, vim.o.columns do
        cells[column] = vim.fn.screenstring(vim.o.lines, column)
      end
      return vim.trim(table.concat(cells))
    ]])
  end
  function child.screen()
    return child.lua([[
      vim.cmd.redraw()
      local lines = {}
      for row = 1, vim.o.lines do
        local cells = {}
        for column = 1, vim.o.columns do
          cells[column] = vim.fn.screenstring(row, column)
        end
        lines[row] = table.concat(cells)
      end
      return table.concat(lines, "\n")
    ]])
  end
  function child.type(keys)
    child.request("nvim_input", keys)
  end
  --- Wait until the screen shows a text. Returns the screen.
  function child.wait_for(shown)
    local screen
    local found = vim.wait(20000, function()
      screen = child.screen()
      return screen:find(shown, 1, true) ~= nil
    end, 20)
    assert(found, ("timed out: %s\n%s"):format(shown, screen))
    return screen
  end
  function child.stop()
    vim.fn.jobstop(channel)
  end
  child.request("nvim_ui_attach", columns or 60, lines or 12, { rgb = true })
  for _, each in ipairs(commands or {}) do
    child.request("nvim_command", each)
  end
  child.lua("vim.g.segue = { cmd = ... }", t.args.cmd)
  return child
end

return M
