"""The store in Redis, Valkey or Redis Cluster.

The server must not evict keys (`maxmemory-policy noeviction`): an evicted account is scored as if
it were new. Memory that runs out is then a refused write, which stops the worker with the reason.
"""
