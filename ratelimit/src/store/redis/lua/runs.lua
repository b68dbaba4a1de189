-- As merged.lua, of commands that all add, in runs that add as much.
--
-- KEYS: one a command. ARGV: how many runs; of each run its change and the number of its
-- last command; then for each command the milliseconds. Answer: the count after each.
local runs, counts, i = tonumber(ARGV[1]), {}, 1
local before = 1 + 2 * runs
for run = 1, runs do
  local change, last = ARGV[2 * run], tonumber(ARGV[2 * run + 1])
  local first = tonumber(change)
  while i <= last do
    local count = redis.pcall('INCRBY', KEYS[i], change)
    if count == first then
      redis.call('PEXPIRE', KEYS[i], ARGV[before + i])
    elseif type(count) == 'table' then
      if not strange(count) then return count end
      count = -1
    end
    counts[i] = count
    i = i + 1
  end
end
return counts
