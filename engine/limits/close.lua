-- Closes lanes for a while: the carrier said so. Follows lane.lua.
-- KEYS: the lanes. ARGV: horizon µs, each lane's step µs, then for how long from now, µs.

local horizon = tonumber(ARGV[1])
for i, key in ipairs(KEYS) do
  local lane = load_lane(key, tonumber(ARGV[1 + i]), 0, horizon)
  lane.closed = math.max(lane.closed, math.min(tonumber(ARGV[2 + #KEYS]), MOST_CLOSED))
  save_lane(lane)
end
