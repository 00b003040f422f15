#!lua
-- Add one partition's events or labels to one shard, unless they have been added already.
--
-- KEYS  the shard's positions of a topic (a hash), then a ring for each addition,
--       then a past event for each entry
-- ARGV  partition, expected position ('' for none), new position, number of additions,
--       seconds that an entry is kept (0: only those that are there, for as long as they are),
--       then for each addition: rows of its ring, seconds that an idle ring is kept,
--       the bucket (8 bytes) and what each quantity grows by (4 bytes each),
--       then for each entry: its bytes
--
-- A ring is the newest bucket (8 bytes), then its rows: see engine/buckets.py, whose add() this
-- repeats. Returns the position that the shard holds now. It is written last, so that a script
-- that stops on an error has not marked its additions as made.

local call, keys, args = redis.call, KEYS, ARGV
local pack, unpack_bytes = struct.pack, struct.unpack
local partition, expected, position = args[1], args[2], args[3]

local stored = call('HGET', keys[1], partition)
if (stored or '') ~= expected then
  return stored
end

local HEADER = 8
local additions, keep_s = tonumber(args[4]), args[5]

local function add(key, rows, idle_s, bytes)
  local bucket = unpack_bytes('<i8', bytes)
  local width = #bytes - HEADER
  local newest = 0
  local header = call('GETRANGE', key, 0, HEADER - 1)
  local is_new = #header < HEADER
  if not is_new then
    newest = unpack_bytes('<i8', header)
  end
  if is_new or bucket - newest >= rows then
    if is_new or bucket > newest then
      call('SET', key, pack('<i8', bucket) .. string.rep('\0', rows * width))
      newest = bucket
    end
  elseif bucket > newest then
    local empty = string.rep('\0', width)
    for passed = newest + 1, bucket do
      call('SETRANGE', key, HEADER + (passed % rows) * width, empty)
    end
    call('SETRANGE', key, 0, pack('<i8', bucket))
    newest = bucket
  end
  if bucket > newest - rows then
    local from = HEADER + (bucket % rows) * width
    local row = call('GETRANGE', key, from, from + width - 1)
    local sums = {}
    for at = 1, width, 4 do
      local sum = unpack_bytes('<f', row, at) + unpack_bytes('<f', bytes, HEADER + at)
      sums[#sums + 1] = pack('<f', sum)
    end
    call('SETRANGE', key, from, table.concat(sums))
  end
  call('EXPIRE', key, idle_s)
end

for i = 1, additions do
  local at = 3 * i + 3
  add(keys[i + 1], tonumber(args[at]), args[at + 1], args[at + 2])
end
local first = 3 * additions + 5
for i = 1, #keys - 1 - additions do
  if keep_s == '0' then
    call('SET', keys[i + 1 + additions], args[first + i], 'XX', 'KEEPTTL')
  else
    call('SET', keys[i + 1 + additions], args[first + i], 'EX', keep_s)
  end
end
call('HSET', keys[1], partition, position)
return position
