-- Stands before each script.

-- Whether a reply says that a key or field holds something that is no counter.
local function strange(reply)
  return type(reply) == 'table' and reply.err and
    (string.find(reply.err, 'WRONGTYPE', 1, true) or string.find(reply.err, 'not an integer', 1, true))
end

-- A page with so many fields is looked up by digest, which takes a text longer than Redis keeps
-- in a list (64 bytes unless its owner chose otherwise): a list is read from its beginning.
local SMALL, MARK = 32, string.rep('this page is looked up by digest ', 3)

-- To be called when `new` fields were put into a page. It gets its end in the step that creates it.
local function grown(key, new, ttl)
  local fields = redis.call('HLEN', key)
  if fields == new then redis.call('PEXPIRE', key, ttl) end
  if fields > SMALL and fields - new <= SMALL then redis.call('HSET', key, MARK, '') end
end

