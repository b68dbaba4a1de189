-- Adds, looks and refunds, of fields of pages.
--
-- KEYS: the page of each command. ARGV: for each its field, its change (5, 0, -3) and the
-- milliseconds the page is to live when this creates it. Answer: the count after each; -1 where
-- a page or a field holds something else.
local counts = {}
for i = 1, #KEYS do
  local key, field, change, ttl = KEYS[i], ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local count
  if string.sub(change, 1, 1) == '-' then
    count = redis.pcall('HGET', key, field)
    local held = type(count) ~= 'table' and tonumber(count or '0')
    if held then
      local taken = math.min(held, tonumber(string.sub(change, 2)))
      count = held - taken
      if taken > 0 then
        local after = redis.pcall('HINCRBY', key, field, string.format('-%.0f', taken))
        if type(after) == 'table' then count = after end
      end
    end
  elseif change == '0' then
    count = redis.pcall('HGET', key, field)
    if type(count) ~= 'table' then count = tonumber(count or '0') end
  else
    count = redis.pcall('HINCRBY', key, field, change)
    if type(count) ~= 'table' and count == tonumber(change) then grown(key, 1, ttl) end
  end
  if type(count) == 'table' and not strange(count) then return count end
  counts[i] = type(count) == 'number' and count or -1
end
return counts
