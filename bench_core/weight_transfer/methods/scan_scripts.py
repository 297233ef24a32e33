"""The steps of the Redis scan: Lua that the server runs whole, with nobody in between.

Keys, all after the prefix, the scripts' only declared key:

====================  ===========================================================================
``models``            set of the live models
``layers:<model>``    list of the names of a live model's layers
``accuracies``        hash: of the live models that have one
``record:<model>``    record of a model, which stays when it is retired
``uses:<model>``      set of the pins on a model: their number is its count
``used``              set of the models that have any
``folder``            identity of the folder with the weights
====================  ===========================================================================

A full server refuses the first command of a script that needs memory, but none after a first write.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local function key(name) return KEYS[1] .. ':' .. name end
local model = ARGV[1]
if redis.call('EXISTS', key('record:' .. model)) == 0 then return -1 end
"""
_IS_UNUSED: Final = "redis.call('SCARD', key('uses:' .. model)) == 0"

PUBLISH: Final = """
local function key(name) return KEYS[1] .. ':' .. name end
local model, accuracy = ARGV[1], ARGV[3]
if redis.call('SETNX', key('record:' .. model), ARGV[2]) == 0 then return 0 end
for number = 4, #ARGV do redis.call('RPUSH', key('layers:' .. model), ARGV[number]) end
if accuracy ~= '' then redis.call('HSET', key('accuracies'), model, accuracy) end
redis.call('SADD', key('models'), model)
return 1
"""
"""Model, record, accuracy or nothing, names: 0 where there was such a model."""

RETIRE: Final = f"""{_COMMON}
if redis.call('SREM', key('models'), model) == 0 then return 0 end
redis.call('DEL', key('layers:' .. model))
redis.call('HDEL', key('accuracies'), model)
return {_IS_UNUSED} and 1 or 0
"""
"""Model: whether its file can go, -1 where there never was such a model."""

PIN: Final = f"""{_COMMON}
if redis.call('SISMEMBER', key('models'), model) == 0 then return 0 end
redis.call('SADD', key('uses:' .. model), ARGV[2])
redis.call('SADD', key('used'), model)
return 1
"""
"""Model, pin: 0 where it is retired, -1 where there never was such a model."""

UNPIN: Final = f"""{_COMMON}
if redis.call('SREM', key('uses:' .. model), ARGV[2]) == 0 then return 0 end
if not ({_IS_UNUSED}) then return 0 end
redis.call('SREM', key('used'), model)
return redis.call('SISMEMBER', key('models'), model) == 0 and 1 or 0
"""
"""Model, pin: whether its file can go now."""

IS_GONE: Final = f"""{_COMMON}
if redis.call('SISMEMBER', key('models'), model) == 1 then return 0 end
return {_IS_UNUSED} and 1 or 0
"""
"""Model: whether it is retired and has no pin, so that its file can go."""
