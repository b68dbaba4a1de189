-- A key is created and given its end in one step: no counter is ever without one.
--
-- KEYS: one a command. ARGV: for each its change (5, 0, -3) and the milliseconds its key is to
-- live when this creates it. Answer: the count after each; -1 where a key holds something else.
local counts = {}
for i = 1, #KEYS do
  local key, change, ttl = KEYS[i], ARGV[2 * i - 1], ARGV[2 * i]
  local count
  if string.sub(change, 1, 1) == '-' then
    count = redis.pcall('GET', key)
    if type(count) ~= 'table' then
      local held = tonumber(count or '0') or 0
      local taken = math.min(held, tonumber(string.sub(change, 2)))
      count = held - taken
      if taken > 0 then
        local after = redis.pcall('DECRBY', key, string.format('%.0f', taken))
        if type(after) == 'table' then count = after end
      end
    end
  elseif change == '0' then
    count = redis.pcall('GET', key)
    if type(count) ~= 'table' then count = tonumber(count or '0') end
  else
    count = redis.pcall('INCRBY', key, change)
    if type(count) ~= 'table' and count == tonumber(change) then
      redis.call('PEXPIRE', key, ttl)
    end
  end
  if type(count) == 'table' then
    if not strange(count) then return count end
    count = -1
  end
  counts[i] = count or -1
end
return counts
