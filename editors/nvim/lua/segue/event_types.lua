--- The event types that this plugin knows.

local M = {}

--- Whether events of a type are visible to the model. Types that are not listed are stored and
--- shown as JSON, and are not visible to the model.
---@type table<string, boolean>
M.EVENT_TYPES = {
  user_message = true,
  text = true,
  tool_call = true,
  tool_result = true,
  skill_invocation = true,
  system_context = false,
  out_of_band_output = false,
}

return M
