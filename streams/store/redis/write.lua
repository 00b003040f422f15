#!lua
-- Write the states of one partition and its position, if the caller still owns it.
--
-- KEYS  the position's key, then one key per account
-- ARGV  expected position ('' for none), new position, expiry in seconds (0: never),
--       then one state per account, in the order of the keys
--
-- Returns {kind, stored position}. The position is written last, so that a script that stops
-- on an error has not marked its batch as done.

local stored = redis.call('GET', KEYS[1])
local expected, position, expire_s = ARGV[1], ARGV[2], ARGV[3]

if (stored or '') ~= expected then
  if stored == position then
    return {'repeated', stored}
  end
  if not stored or (expected ~= '' and tonumber(stored) < tonumber(expected)) then
    return {'behind', stored}
  end
  return {'fenced', stored}
end

-- Locals: a global would be looked up anew for each account.
local call, keys, args = redis.call, KEYS, ARGV
if expire_s == '0' then
  for i = 2, #keys do
    call('SET', keys[i], args[i + 2])
  end
else
  for i = 2, #keys do
    call('SET', keys[i], args[i + 2], 'EX', expire_s)
  end
end
redis.call('SET', KEYS[1], position)
return {'applied', position}
