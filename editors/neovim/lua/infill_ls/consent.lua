-- Whether a program that came with a workspace may be started: the user is asked once, and the
-- answer is kept. The terms are those of |vim.secure|: a yes is for the content as it was, a no for
-- whatever comes in its place. Not vim.secure itself: it asks while a file is being opened, and
-- Neovim 0.12 takes its yes only from within the program's text.
local M = {}

local asked = {} -- programs that were asked about in this session

local function kept_in()
  return vim.fs.joinpath(vim.fn.stdpath('data'), 'infill_ls', 'workspace_servers.json')
end

local function content_of(path)
  local file = io.open(path, 'rb')
  local content = file and file:read('*a')
  if file then
    file:close()
  end
  return content
end

local function kept()
  local ok, answers = pcall(vim.json.decode, content_of(kept_in()) or '')
  return ok and type(answers) == 'table' and answers or {}
end

local function hash(program)
  local content = content_of(program)
  return content and vim.fn.sha256(content) or ''
end

-- true, false, or nil when it is not said.
function M.answer(program)
  local answer = kept()[program]
  if type(answer) ~= 'table' or (answer.start and answer.sha256 ~= hash(program)) then
    return nil
  end
  return answer.start == true
end

local function keep(program, answer)
  local answers = kept()
  answers[program] = answer
  local path = kept_in()
  vim.fn.mkdir(vim.fs.dirname(path), 'p')
  local file = assert(io.open(path .. '.new', 'wb'))
  file:write(vim.json.encode(answers))
  file:close()
  assert(vim.uv.fs_rename(path .. '.new', path))
end

-- Asks, and calls `done` when there is a yes or a no.
function M.ask(program, done)
  asked[program] = true
  local meant = hash(program) -- what is changed while the question waits is not meant
  local choices = { 'Not now', 'Start it', 'Never' }
  local prompt = ('infill_ls: this program came with the workspace. Start it?\n%s'):format(program)
  vim.ui.select(choices, { prompt = prompt }, function(choice)
    if choice == 'Start it' or choice == 'Never' then
      keep(program, { start = choice == 'Start it', sha256 = meant })
      done()
    end
  end)
end

-- The same once a session, and only of somebody who can see it.
function M.ask_once(program, done)
  if asked[program] or #vim.api.nvim_list_uis() == 0 then
    return
  end
  asked[program] = true
  vim.schedule(function()
    M.ask(program, done)
  end)
end

return M
