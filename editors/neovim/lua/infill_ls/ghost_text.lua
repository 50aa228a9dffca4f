-- The one face of ghost text: Neovim's own from 0.12, ours before, with the same behaviour.
local config = require('infill_ls.config')

local M = {}

local function drawn_by()
  return require(config.use_native() and 'infill_ls.native' or 'infill_ls.own')
end

-- Once per client, before it is attached to any buffer.
function M.prepare(client)
  drawn_by().prepare(client)
end

function M.attach(client, bufnr)
  drawn_by().attach(client, bufnr)
end

function M.visible()
  return drawn_by().visible()
end

-- Takes over 'all', or so many times the next 'word' or the next 'line', once by default; false
-- where nothing is shown.
function M.accept(part, count)
  return M.visible() and drawn_by().accept(part, count)
end

function M.dismiss()
  return M.visible() and drawn_by().dismiss()
end

function M.select(count)
  return M.visible() and drawn_by().select(count)
end

-- Asks now, for several suggestions to choose from.
function M.trigger()
  drawn_by().trigger()
end

return M
