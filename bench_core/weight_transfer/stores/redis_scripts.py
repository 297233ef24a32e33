"""The steps of a shard in Redis: Lua that the server runs whole, with nobody in between.

Keys, all after the prefix, the scripts' only declared key:

========================  =======================================================================
``records``, ``tokens``   hashes: a model's record, and the token of its put
``live``, ``retired``     sorted sets of models by their point in the history
``history``               list of encoded changes
``unpublished``           set of the tokens of bytes that no record names
``writing``               set of those whose bytes are not all there yet
``sizes:<token>``         hash: the bytes of each tensor that was put under the token and is there
``held:<token>``          hash: the holders of each of them, once they are published
``holds``                 hash: the tensors that ``<owner>:<token>`` holds
``pins``, ``pinned``      set of ``<model>:<token>``; hash: how many of them a model has
``usage``                 hash: sums over all of ``held`` and ``sizes``
``bytes:<token>:…``       the values, in parts
========================  =======================================================================

A full server refuses the first command of a script that needs memory, but none after a first
write: so scripts that give memory back begin by deleting something. Between MULTI and EXEC it
refuses everything, hence scripts for what reads several keys too.
"""

from __future__ import annotations

from typing import Final

from bench_core.weight_transfer.graphs import NAME_BYTES

_COMMON: Final = f"""
local function key(name) return KEYS[1] .. ':' .. name end

local function split(joined)
    local ids = {{}}
    for first = 1, #joined, {NAME_BYTES} do
        ids[#ids + 1] = string.sub(joined, first, first + {NAME_BYTES - 1})
    end
    return ids
end

local function add(what, number)
    if number ~= 0 then redis.call('HINCRBY', key('usage'), what, number) end
end

local function free(token, id, part_bytes)
    local size = tonumber(redis.call('HGET', key('sizes:' .. token), id))
    redis.call('HDEL', key('sizes:' .. token), id)
    for part = 0, math.max(math.ceil(size / part_bytes), 1) - 1 do
        redis.call('UNLINK', key('bytes:' .. token .. ':' .. id .. ':' .. part))
    end
    return size
end
"""

DISCARD: Final = f"""{_COMMON}
local token, part_bytes = ARGV[1], tonumber(ARGV[2])
if redis.call('SREM', key('unpublished'), token) == 0 then return 0 end
redis.call('SREM', key('writing'), token)
for _, id in ipairs(redis.call('HKEYS', key('sizes:' .. token))) do
    free(token, id, part_bytes)
end
return 1
"""
"""Token, bytes of a part: whether there was something to discard."""

_HOLDING: Final = """
-- Owners and their joined tensors stand by turns in ARGV, from a place on.
local function holds(owner, token)
    return redis.call('HEXISTS', key('holds'), owner .. ':' .. token) == 1
end

local function held_of(owner)
    return key('held:' .. (redis.call('HGET', key('tokens'), owner) or ''))
end

local function are_there(token, first)
    for at = first, #ARGV, 2 do
        if not holds(ARGV[at], token) then
            for _, id in ipairs(split(ARGV[at + 1])) do
                if redis.call('HEXISTS', held_of(ARGV[at]), id) == 0 then return false end
            end
        end
    end
    return true
end

local function hold(token, first)
    for at = first, #ARGV, 2 do
        if not holds(ARGV[at], token) then
            local ids = split(ARGV[at + 1])
            redis.call('HSET', key('holds'), ARGV[at] .. ':' .. token, ARGV[at + 1])
            for _, id in ipairs(ids) do redis.call('HINCRBY', held_of(ARGV[at]), id, 1) end
            add('references', #ids)
        end
    end
end
"""

HOLD: Final = f"""{_COMMON}{_HOLDING}
local token = ARGV[1]
if not are_there(token, 2) then return 0 end
hold(token, 2)
return 1
"""
"""Token, owners and tensors by turns: 0 where one of them is gone."""

RELEASE: Final = f"""{_COMMON}
local token, part_bytes, freed = ARGV[1], tonumber(ARGV[2]), 0
for at = 3, #ARGV do
    local owner = ARGV[at]
    local joined = redis.call('HGET', key('holds'), owner .. ':' .. token)
    if joined then
        local put, ids = redis.call('HGET', key('tokens'), owner), split(joined)
        local tensors, nbytes = 0, 0
        redis.call('HDEL', key('holds'), owner .. ':' .. token)
        for _, id in ipairs(ids) do
            if redis.call('HINCRBY', key('held:' .. put), id, -1) == 0 then
                redis.call('HDEL', key('held:' .. put), id)
                tensors = tensors + 1
                nbytes = nbytes + free(put, id, part_bytes)
            end
        end
        add('references', -#ids)
        add('tensors', -tensors)
        add('nbytes', -nbytes)
        freed = freed + nbytes
    end
end
return freed
"""
"""Token, bytes of a part, owners: the freed bytes."""

PUBLISH: Final = f"""{_COMMON}{_HOLDING}
local model, token, record, change = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HEXISTS', key('records'), model) == 1 then return 0 end
if redis.call('SISMEMBER', key('writing'), token) == 1 then return -1 end
if not are_there(token, 5) then return -2 end
redis.call('HSET', key('records'), model, record)
redis.call('HSET', key('tokens'), model, token)
if redis.call('SREM', key('unpublished'), token) == 1 then
    local ids, nbytes = {{}}, 0
    local sizes = redis.call('HGETALL', key('sizes:' .. token))
    for at = 1, #sizes, 2 do
        ids[#ids + 1] = sizes[at]
        nbytes = nbytes + tonumber(sizes[at + 1])
        redis.call('HSET', key('held:' .. token), sizes[at], 1)
    end
    redis.call('HSET', key('holds'), model .. ':' .. token, table.concat(ids))
    add('references', #ids)
    add('tensors', #ids)
    add('nbytes', nbytes)
end
hold(token, 5)
redis.call('ZADD', key('live'), redis.call('RPUSH', key('history'), change), model)
return 1
"""
"""Model, token, record, change, and what it inherits, owners and tensors by turns.

0 where there was such a model, -1 where its own bytes are missing, -2 where inherited ones are.
"""

WITHDRAW: Final = f"""{_COMMON}
local model, change = ARGV[1], ARGV[2]
if redis.call('HEXISTS', key('records'), model) == 0 then return -1 end
if redis.call('ZREM', key('live'), model) == 0 then return 0 end
redis.call('ZADD', key('retired'), redis.call('RPUSH', key('history'), change), model)
return 1 - redis.call('HEXISTS', key('pinned'), model)
"""
"""Model, change: whether its holds can be given back, -1 where there never was such a model."""

PIN: Final = f"""{_COMMON}
local model, token = ARGV[1], ARGV[2]
if redis.call('HEXISTS', key('records'), model) == 0 then return -1 end
if not redis.call('ZSCORE', key('live'), model) then return 0 end
if redis.call('SADD', key('pins'), model .. ':' .. token) == 1 then
    redis.call('HINCRBY', key('pinned'), model, 1)
end
return 1
"""
"""Model, token: 0 where it is retired, -1 where there never was such a model."""

UNPIN: Final = f"""{_COMMON}
local model, token = ARGV[1], ARGV[2]
if redis.call('SREM', key('pins'), model .. ':' .. token) == 0 then return 0 end
if redis.call('HINCRBY', key('pinned'), model, -1) > 0 then return 0 end
redis.call('HDEL', key('pinned'), model)
return redis.call('ZSCORE', key('retired'), model) and 1 or 0
"""
"""Model, token: whether its holds can be given back now."""

USAGE: Final = f"""{_COMMON}
return {{redis.call('ZCARD', key('live')),
    redis.call('HMGET', key('usage'), 'tensors', 'nbytes', 'references')}}
"""
"""The number of live models, and the sums."""

LEFTOVERS: Final = f"""{_COMMON}
return {{redis.call('SMEMBERS', key('unpublished')), redis.call('HKEYS', key('holds')),
    redis.call('SMEMBERS', key('pins')), redis.call('ZRANGE', key('live'), 0, -1),
    redis.call('HGETALL', key('tokens'))}}
"""
"""Unpublished tokens, holds, pins, live models, and by turns a model and its token."""
