-- As merged.lua, of commands that all add, gathered by page.
--
-- KEYS: pages. ARGV: for each page how many commands, and the milliseconds it is to live when this
-- creates it; then what each command adds if that is the same for all, else nothing; then the
-- fields, and if need be what is added to each, of one page after the other. A field comes once.
-- Answer: the count after each; -1 where a page or a field holds something else.
local MOST = 9007199254740991
-- What Lua calls it from 5.2 on, as servers that speak as Redis does may have it.
local unpack = table.unpack or unpack
local counts, texts, n, at = {}, {}, 0, 2 * #KEYS + 1
local all = ARGV[at]
local add = tonumber(all)
for page = 1, #KEYS do
  local key, fields, held = KEYS[page], tonumber(ARGV[2 * page - 1]), nil
  -- What is added to field i stands so far behind it.
  local behind, new, marked = add and 0 or fields, 0, false
  if fields > 2 then
    held = redis.pcall('HMGET', key, MARK, unpack(ARGV, at + 1, at + fields))
    if held.err and not strange(held) then return held end
  end
  if held and not held.err then
    marked = held[1]
    local set, filled = {}, 0
    for i = 1, fields do
      local count, more = held[i + 1], add or tonumber(ARGV[at + behind + i])
      if not count then
        new, count = new + 1, more
      else
        count = tonumber(count)
        count = count and math.min(count + more, MOST)
      end
      n = n + 1
      counts[n] = count or -1
      if count then
        local text = texts[count]
        if not text then
          text = string.format('%.0f', count)
          texts[count] = text
        end
        set[filled + 1], set[filled + 2] = ARGV[at + i], text
        filled = filled + 2
      end
    end
    if filled > 0 then redis.call('HSET', key, unpack(set)) end
  else
    for i = 1, fields do
      local change = add and all or ARGV[at + behind + i]
      local count = redis.pcall('HINCRBY', key, ARGV[at + i], change)
      if type(count) == 'table' then
        if not strange(count) then return count end
        count = -1
      elseif count == (add or tonumber(change)) then
        new = new + 1
      end
      n = n + 1
      counts[n] = count
    end
  end
  if new > 0 and not marked then grown(key, new, ARGV[2 * page]) end
  at = at + fields + behind
end
return counts
