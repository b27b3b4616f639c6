local M = {}

function M.setup(opts)
  local config = require("agentic.config")
  for name, value in pairs(opts) do
    config[name] = value
  end
end

function M.open()
  require("agentic.session_registry").get_session_for_tab_page(nil, function(session)
    session.widget:show()
  end)
end

return M
