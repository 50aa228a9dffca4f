-- Ghost text by hand, for Neovim 0.10 and 0.11, which have none.
--
-- One suggestion is shown at a time, in the current buffer. It is kept with the place where it
-- begins; what was typed since then is compared with it at every key, so typing through it needs
-- no answer from the server.
local config = require('infill_ls.config')
local server = require('infill_ls.server')
local text = require('infill_ls.text')

local M = {}

local INVOKED, AUTOMATIC = 1, 2
local namespace = vim.api.nvim_create_namespace('infill_ls.ghost')

local shown = nil -- { bufnr, client, items, index, row, col, past, tail, reported }
local pending = nil -- { client, id } of the request under way
local timer = nil
local asked = nil -- what the last request was about; the same twice is one key's two events

local function inserting()
  return vim.api.nvim_get_mode().mode:sub(1, 1) == 'i'
end

local function clear(bufnr)
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_clear_namespace(bufnr, namespace, 0, -1)
  end
end

local function forget()
  if shown then
    clear(shown.bufnr)
    shown = nil
  end
end

local function cancel()
  if timer then
    timer:stop()
  end
  if pending then
    local old = pending
    pending = nil
    if old.id then
      server.call(old.client, 'cancel_request', old.id)
    end
  end
end

local function after_cursor()
  local cursor = vim.api.nvim_win_get_cursor(0)
  return vim.api.nvim_get_current_line():sub(cursor[2] + 1)
end

-- The item in hand, and what is left of it behind what was typed; nil when it no longer fits.
local function current()
  if not shown or shown.bufnr ~= vim.api.nvim_get_current_buf() then
    return nil
  end
  local item = shown.items[shown.index]
  local rest = text.rest(item.insertText, text.typed(shown.bufnr, shown.row, shown.col))
  -- Something else than typing at the cursor changes what stands behind it.
  if not rest or after_cursor() ~= shown.tail then
    return nil
  end
  return item, rest
end

-- Virtual text shows a tab as it stands; widths are those of the buffer.
local function tabs_widened(line)
  return (line:gsub('\t', (' '):rep(vim.bo.tabstop)))
end

local function draw()
  local item, rest = current()
  if not item then
    forget()
    return
  end
  clear(shown.bufnr)
  local lines = vim.split(tabs_widened(rest), '\n', { plain = true })
  local cursor = vim.api.nvim_win_get_cursor(0)
  local behind = shown.tail:sub(shown.past + 1)
  local first = { { lines[1], 'InfillGhost' } }
  local below = {}
  for i = 2, #lines do
    below[#below + 1] = { { lines[i], 'InfillGhost' } }
  end
  local position = 'inline'
  if #lines > 1 and behind ~= '' then
    -- What follows the cursor goes below the last line, as it will when accepted; where it stands
    -- it is covered.
    local width = vim.fn.strdisplaywidth
    local uncovered = width(shown.tail) - width(lines[1])
    if uncovered > 0 then
      first[#first + 1] = { (' '):rep(uncovered), '' }
    end
    table.insert(below[#below], { tabs_widened(behind), '' })
    position = 'overlay'
  elseif shown.past > 0 then
    position = 'overlay'
  end
  if #shown.items > 1 and shown.chosen then
    local hint = (' (%d/%d)'):format(shown.index, #shown.items)
    table.insert(#below > 0 and below[#below] or first, { hint, 'InfillGhostHint' })
  end
  vim.api.nvim_buf_set_extmark(shown.bufnr, namespace, cursor[1] - 1, cursor[2], {
    virt_text = first,
    virt_text_pos = position,
    virt_lines = #below > 0 and below or nil,
    hl_mode = 'combine',
    -- Behind what was there first, such as another plugin's hint.
    priority = 200,
  })
  if not shown.reported then
    shown.reported = true
    text.report_shown(shown.client, item)
  end
end

local function usable(items)
  local found = {}
  for _, item in ipairs(items) do
    if type(item.insertText) == 'string' and item.insertText ~= '' then
      item.insertText = text.plain(item.insertText)
      found[#found + 1] = item
    end
  end
  return found
end

local function show(client, bufnr, items)
  items = usable(items)
  if #items == 0 then
    forget()
    return
  end
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, col, stop = cursor[1] - 1, cursor[2], cursor[2]
  local range = items[1].range
  if range then
    local encoding = client.offset_encoding
    row = range.start.line
    col = text.byte_col(bufnr, row, range.start.character, encoding)
    stop = math.max(stop, text.byte_col(bufnr, row, range['end'].character, encoding))
  end
  shown = {
    bufnr = bufnr,
    client = client,
    items = items,
    index = 1,
    row = row,
    col = col,
    past = stop - cursor[2],
    tail = after_cursor(),
  }
  draw()
end

local function request(bufnr, kind)
  local client = server.client(bufnr)
  if not client then
    return
  end
  cancel()
  local mine = { client = client }
  pending = mine
  local tick = vim.api.nvim_buf_get_changedtick(bufnr)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = kind }
  local _, id = server.call(client, 'request', text.METHOD, params, function(err, result)
    if pending ~= mine then
      return
    end
    pending = nil
    if vim.api.nvim_get_current_buf() ~= bufnr or not inserting() or err then
      return
    end
    local now = vim.api.nvim_win_get_cursor(0)
    if vim.api.nvim_buf_get_changedtick(bufnr) ~= tick or not vim.deep_equal(now, cursor) then
      return
    end
    show(client, bufnr, result and (result.items or result) or {})
  end, bufnr)
  mine.id = id
end

-- After a key: what is shown follows it at once, and the server is asked after a pause.
local function moved(bufnr)
  local cursor = vim.api.nvim_win_get_cursor(0)
  local about = { bufnr, vim.api.nvim_buf_get_changedtick(bufnr), cursor[1], cursor[2] }
  if vim.deep_equal(about, asked) then
    return
  end
  asked = about
  if shown then
    draw()
  end
  timer = timer or vim.uv.new_timer()
  timer:stop()
  timer:start(config.get().debounce_ms, 0, function()
    vim.schedule(function()
      if inserting() and vim.api.nvim_get_current_buf() == bufnr and asked == about then
        request(bufnr, AUTOMATIC)
      end
    end)
  end)
end

function M.prepare() end

function M.attach(_, bufnr)
  vim.api.nvim_set_hl(0, 'InfillGhost', { link = 'Comment', default = true })
  vim.api.nvim_set_hl(0, 'InfillGhostHint', { link = 'NonText', default = true })
  local group = vim.api.nvim_create_augroup('infill_ls.own.' .. bufnr, { clear = true })
  local events = { 'InsertEnter', 'CursorMovedI', 'TextChangedI', 'TextChangedP' }
  vim.api.nvim_create_autocmd(events, {
    group = group,
    buffer = bufnr,
    callback = function()
      moved(bufnr)
    end,
  })
  vim.api.nvim_create_autocmd({ 'InsertLeave', 'BufLeave' }, {
    group = group,
    buffer = bufnr,
    callback = function()
      cancel()
      forget()
      asked = nil
    end,
  })
end

function M.visible()
  return current() ~= nil
end

function M.accept(part, count)
  local item, rest = current()
  if not item then
    return false
  end
  local from = shown
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local chunk = text.chunk(rest, part, count)
  local whole = chunk == rest
  local lines = vim.split(chunk, '\n', { plain = true })
  local stop = whole and col + from.past or col
  cancel()
  vim.api.nvim_buf_set_text(from.bufnr, row, col, row, stop, lines)
  local last = #lines == 1 and col + #lines[1] or #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { row + #lines, last })
  if whole then
    forget()
    if item.command then
      local params = { command = item.command.command, arguments = item.command.arguments }
      server.call(
        from.client,
        'request',
        'workspace/executeCommand',
        params,
        function() end,
        from.bufnr
      )
    end
  else
    local typed = item.insertText:sub(1, #item.insertText - #rest)
    text.report_partly_accepted(from.client, item, typed .. chunk, typed)
    draw()
  end
  return true
end

function M.dismiss()
  local item = current()
  if item then
    text.report_dismissed(shown.client, item)
  end
  cancel()
  forget()
  return true
end

function M.select(count)
  if not shown then
    return false
  end
  shown.index = (shown.index - 1 + count) % #shown.items + 1
  shown.chosen = true
  draw()
  return true
end

function M.trigger()
  request(vim.api.nvim_get_current_buf(), INVOKED)
end

return M
