-- Stands before each script.

-- Whether a reply says that a key holds something that is no counter.
local function strange(reply)
  return type(reply) == 'table' and reply.err and
    (string.find(reply.err, 'WRONGTYPE', 1, true) or string.find(reply.err, 'not an integer', 1, true))
end

