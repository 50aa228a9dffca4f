-- What the server last said of itself, for a statusline. Copilot's shape: busy, kind, message.
local M = {}

local now = { busy = false, kind = 'Inactive', message = '' }
local owner = nil

local function redraw()
  vim.schedule(function()
    vim.cmd.redrawstatus({ bang = true })
  end)
end

function M.set(new)
  now = vim.tbl_extend('force', { busy = false, kind = 'Normal', message = '' }, new)
  redraw()
end

-- The server's notification.
function M.server(client_id, params)
  owner = client_id
  M.set({ busy = params.busy, kind = params.kind, message = params.message or '' })
end

function M.gone(client_id)
  if owner == client_id then
    M.set({ kind = 'Inactive' })
  end
end

-- What the server says when it is at rest: that something is held back for a key, or that it is
-- snoozed.
local HELD_BACK = 'a suggestion is ready'

-- { state, message }: state is 'off', 'loading', 'ready', 'held', 'snoozed', 'thinking', 'warning'
-- or 'error'.
function M.get()
  local state = 'ready'
  if now.kind == 'Inactive' then
    state = 'off'
  elseif now.kind == 'Error' then
    state = 'error'
  elseif now.kind == 'Warning' then
    state = 'warning'
  elseif now.busy then
    state = now.message == 'thinking' and 'thinking' or 'loading'
  elseif now.message == HELD_BACK then
    state = 'held'
  elseif now.message ~= '' then
    state = 'snoozed'
  end
  return { state = state, message = now.message }
end

local SIGNS = {
  off = '',
  loading = ' …',
  ready = '',
  held = ' +',
  snoozed = ' z',
  thinking = ' ·',
  warning = ' !',
  error = ' ✗',
}

-- Short enough for a statusline; empty while there is no server.
function M.component()
  local state = M.get().state
  return state == 'off' and '' or 'infill' .. SIGNS[state]
end

return M
