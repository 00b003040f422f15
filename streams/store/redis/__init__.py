"""The store in Redis, Valkey or Redis Cluster.

The server must not evict keys (`maxmemory-policy noeviction`): an evicted account is scored as if
it were new. Memory that runs out is then a refused write.

A worker that runs tries again, for as long as it takes, where the server is away, out of memory,
read-only or loading. It stops at once with the reason where trying again would not help: a wrong
password, a missing right, a key of another type.
"""
