-- The keys. None is taken from anybody: where a key is mapped already, ours stays away.
local config = require('infill_ls.config')

local M = {}

local TITLES = {
  accept = 'Accept the suggestion',
  accept_word = 'Accept the next word of the suggestion',
  accept_line = 'Accept the next line of the suggestion',
  dismiss = 'Dismiss the suggestion',
  next = 'Show the next suggestion',
  prev = 'Show the previous suggestion',
  trigger = 'Suggest now',
  next_edit = 'Go to the next edit, and make it',
  dismiss_next_edit = 'Dismiss the next edit',
}
local MODES = { next_edit = 'n', dismiss_next_edit = 'n' } -- the others are of insert mode

local set = {} -- { mode, left-hand side }, so that a second setup can take them back

function M.mode_of(action)
  return MODES[action] or 'i'
end

local function act(action)
  return require('infill_ls')[action]()
end

local function feed(keys, remap)
  local typed = vim.api.nvim_replace_termcodes(keys, true, true, true)
  vim.api.nvim_feedkeys(typed, remap and 'im' or 'in', false)
end

-- What the key did before; Neovim gives no way to call a mapping that was replaced. With Alt it did
-- nothing: Neovim would make Escape and a letter of it, or put in the letter alone.
local function otherwise(key, before)
  if not before or vim.tbl_isempty(before) then
    local alone = key:lower():match('^<[ma]%-') ~= nil
    return not alone and feed(key, false) or nil
  end
  local remap = before.noremap ~= 1
  if before.callback then
    local keys = before.callback()
    if before.expr == 1 and type(keys) == 'string' and keys ~= '' then
      if before.replace_keycodes == 1 then
        return feed(keys, remap)
      end
      vim.api.nvim_feedkeys(keys, remap and 'im' or 'in', false)
    end
    return
  end
  local keys = before.expr == 1 and vim.api.nvim_eval(before.rhs) or before.rhs
  feed(keys, remap)
end

local function map(key, action, before)
  local mode = M.mode_of(action)
  vim.keymap.set(mode, key, function()
    if not act(action) then
      otherwise(key, before)
    end
  end, { desc = 'infill: ' .. TITLES[action], silent = true })
  set[#set + 1] = { mode, key }
end

function M.set()
  for _, made in ipairs(set) do
    pcall(vim.keymap.del, made[1], made[2])
  end
  set = {}
  local options = config.get()
  for action, key in pairs(options.keymaps) do
    if key and key ~= '' and vim.fn.maparg(key, M.mode_of(action)) == '' then
      map(key, action)
    end
  end
  if options.tab then
    map('<Tab>', 'accept', vim.fn.maparg('<Tab>', 'i', false, true))
    map('<Tab>', 'next_edit', vim.fn.maparg('<Tab>', 'n', false, true))
  end
  for action, title in pairs(TITLES) do
    local plug = ('<Plug>(infill-%s)'):format(action:gsub('_', '-'))
    vim.keymap.set(M.mode_of(action), plug, function()
      act(action)
    end, { desc = 'infill: ' .. title })
  end
end

return M
