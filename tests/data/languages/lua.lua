-- A queue of jobs with priorities.
local Queue = {}
Queue.__index = Queue

function Queue.new(limit)
    return setmetatable({ jobs = {}, limit = limit or 10 }, Queue)
end

function Queue:push(name, priority)
    if #self.jobs >= self.limit then
        return nil, "full"
    end
    table.insert(self.jobs, { name = name, priority = priority })
    table.sort(self.jobs, function(a, b)
        return a.priority > b.priority
    end)
    return true
end

function Queue:pop()
    local job = table.remove(self.jobs, 1)
    return job and job.name
end

--[[ Runs all jobs
     and counts them. ]]
local function run(queue, handlers)
    local count = 0
    while true do
        local name = queue:pop()
        if not name then
            break
        elseif handlers[name] then
            handlers[name]()
        else
            print('no handler for ' .. name)
        end
        count = count + 1
    end
    return count
end

local queue = Queue.new(3)
for i, name in ipairs({ "mail", "backup", "report" }) do
    queue:push(name, i % 2)
end

local text = [[
several
lines]]

repeat
    local done = run(queue, { mail = function() print(text) end })
until done == 0
