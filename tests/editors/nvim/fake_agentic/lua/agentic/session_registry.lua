local M = { sessions = {} }

function M.get_session_for_tab_page(tab, callback)
  tab = tab or vim.api.nvim_get_current_tabpage()
  M.sessions[tab] = M.sessions[tab] or require("agentic.session_manager"):new(tab)
  callback(M.sessions[tab])
  return M.sessions[tab]
end

function M.destroy_session()
  M.sessions[vim.api.nvim_get_current_tabpage()] = nil
end

return M
