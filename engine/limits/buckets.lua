-- Token buckets. KEYS: one per bucket. ARGV: the caller's time (ms), then per bucket: capacity, refill per ms, wanted.
-- Stored: {run id, tokens, time of that count}. A bucket that is missing, or that another server left, starts EMPTY.
-- wanted < 0 puts tokens back. Reply: how many were granted to each.

local KEEP_MS = 86400000
local AHEAD_MS = 60000 -- two callers' clocks differ by less; a stamp further ahead means that the clock was set back

local now = tonumber(ARGV[1])
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local stored = redis.call('MGET', unpack(KEYS))
local granted = {}
for i, key in ipairs(KEYS) do
  local at = 3 * i - 1
  local capacity, refill, wanted = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local tokens, stamp = 0, now
  if stored[i] then
    local value = cmsgpack.unpack(stored[i])
    if value[1] == run_id then
      tokens = value[2]
      if now >= value[3] then
        tokens = math.min(capacity, tokens + (now - value[3]) * refill)
      elseif value[3] - now < AHEAD_MS then
        stamp = value[3] -- another caller, a little ahead: these milliseconds are filled already
      end
    end
  end
  local take = math.max(wanted, -capacity)
  if take > 0 then take = math.min(take, math.floor(tokens + 1e-9)) end
  tokens = math.max(0, math.min(capacity, tokens - take))
  granted[i] = math.max(take, 0)
  redis.call('SET', key, cmsgpack.pack({run_id, tokens, stamp}), 'PX', KEEP_MS)
end
return granted
