-- What a user may choose about the plugin. What may be chosen about the server goes through it
-- untouched, in `settings`: the server knows its options and complains about wrong ones itself.
local M = {}

M.defaults = {
  cmd = nil, -- the server's command line, a list; nil looks on PATH, then in the workspace's venv
  filetypes = nil, -- a list; nil attaches to every file, and the server decides by language
  root_markers = { '.git', 'pyproject.toml', 'package.json', 'Cargo.toml', 'go.mod' },
  settings = {}, -- the server's, by their own names: { maxLines = 10 }
  ghost = 'auto', -- 'native' (Neovim's own, 0.12 and later), 'own', or 'auto': native where there is one
  debounce_ms = 60, -- of own ghost text only: Neovim's has its own
  -- Nothing here takes a key that is mapped already, and none of these is <Tab>.
  keymaps = {
    accept = '<M-l>',
    accept_word = '<M-w>',
    accept_line = '<M-j>',
    dismiss = '<M-e>',
    next = '<M-n>',
    prev = '<M-p>',
    trigger = '<M-\\>',
    next_edit = '<M-l>', -- in normal mode: goes to the next edit, and there makes it
    dismiss_next_edit = '<M-e>', -- in normal mode
  },
  next_edit = true, -- offer what is likely to be edited next
  tab = false, -- true: <Tab> accepts while something is shown, and else does what it did before
}

local options = vim.deepcopy(M.defaults)

local function fail(name, takes, value)
  error(('infill_ls: %s takes %s, not %s'):format(name, takes, vim.inspect(value)), 0)
end

local function list_of_strings(value)
  if type(value) ~= 'table' then
    return false
  end
  for key, word in pairs(value) do
    if type(key) ~= 'number' or type(word) ~= 'string' then
      return false
    end
  end
  return true
end

-- Raises a message that says which option is wrong, and what it takes.
local function validate(given)
  for name in pairs(given) do
    if M.defaults[name] == nil and name ~= 'cmd' and name ~= 'filetypes' then
      local names = vim.tbl_keys(M.defaults)
      vim.list_extend(names, { 'cmd', 'filetypes' })
      table.sort(names)
      error(('infill_ls: no option "%s"; there is: %s'):format(name, table.concat(names, ', ')), 0)
    end
  end
  if given.cmd ~= nil and (not list_of_strings(given.cmd) or #given.cmd == 0) then
    fail('cmd', "a list such as { 'infill-ls' }", given.cmd)
  end
  if given.filetypes ~= nil and not list_of_strings(given.filetypes) then
    fail('filetypes', 'a list of names', given.filetypes)
  end
  if given.ghost ~= nil and not vim.tbl_contains({ 'auto', 'native', 'own' }, given.ghost) then
    fail('ghost', "'auto', 'native' or 'own'", given.ghost)
  end
  if given.ghost == 'native' and not M.has_native() then
    error("infill_ls: ghost = 'native' needs Neovim 0.12; 'own' works here", 0)
  end
  if given.settings ~= nil and type(given.settings) ~= 'table' then
    fail('settings', "a table of the server's settings", given.settings)
  end
  if given.keymaps ~= nil and given.keymaps ~= false and type(given.keymaps) ~= 'table' then
    fail('keymaps', 'a table, or false for none', given.keymaps)
  end
  for action in pairs(given.keymaps or {}) do
    if M.defaults.keymaps[action] == nil then
      local names = vim.tbl_keys(M.defaults.keymaps)
      table.sort(names)
      error(('infill_ls: no key map "%s"; there is: %s'):format(action, table.concat(names, ', ')), 0)
    end
  end
end

function M.has_native()
  return vim.lsp.inline_completion ~= nil
end

function M.set(given)
  validate(given)
  local keymaps = given.keymaps
  if keymaps == false then
    given = vim.tbl_extend('force', given, { keymaps = {} })
  end
  options = vim.tbl_deep_extend('force', vim.deepcopy(M.defaults), given)
  if keymaps == false then
    options.keymaps = {}
  end
end

function M.get()
  return options
end

function M.use_native()
  return options.ghost ~= 'own' and M.has_native()
end

return M
