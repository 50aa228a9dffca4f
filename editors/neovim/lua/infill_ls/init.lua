-- infill-ls in Neovim: ghost text from a local text diffusion model. See :help infill_ls.
local M = {}

local set_up = false

-- May be called without anything; a second call changes the options and starts afresh.
function M.setup(given)
  local again = set_up
  set_up = true
  require('infill_ls.config').set(given or {})
  require('infill_ls.keymaps').set()
  local server = require('infill_ls.server')
  if again then
    server.restart()
  else
    server.start()
  end
end

function M.is_set_up()
  return set_up
end

local function ghost_text()
  return require('infill_ls.ghost_text')
end

-- Each returns whether there was ghost text to do it with.
function M.accept()
  return ghost_text().accept('all')
end

function M.accept_word()
  return ghost_text().accept('word')
end

function M.accept_line()
  return ghost_text().accept('line')
end

function M.accept_lines(count)
  return ghost_text().accept('line', count)
end

function M.dismiss()
  return ghost_text().dismiss()
end

function M.next()
  return ghost_text().select(1)
end

function M.prev()
  return ghost_text().select(-1)
end

-- Asks for several suggestions now, whatever the server's `trigger` says.
function M.trigger()
  ghost_text().trigger()
  return true
end

function M.visible()
  return ghost_text().visible()
end

-- Opens a page beside: why something is shown at the cursor, or why nothing is.
function M.explain()
  require('infill_ls.about').explain()
end

-- Suggests nothing that nobody asks for so many minutes; 0 ends it.
function M.snooze(minutes)
  require('infill_ls.about').snooze(minutes)
end

-- For a statusline: what was accepted, as "1234 accepted, 91% kept"; empty before anything was.
function M.stats()
  return require('infill_ls.about').stats()
end

-- Goes to the edit that is likely next, and once there makes it.
function M.next_edit()
  return require('infill_ls.next_edit').accept()
end

function M.dismiss_next_edit()
  return require('infill_ls.next_edit').dismiss()
end

-- For a statusline: a few characters, empty without a server.
function M.status()
  return require('infill_ls.status').component()
end

return M
