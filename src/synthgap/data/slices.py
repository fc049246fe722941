"""How a whole is cut into shards. Light, as the Snakefile uses it."""


def shard_slice(total: int, shard: int, shards: int) -> slice:
    """Return the rows of `shard` when `total` rows are cut into `shards` nearly equal parts."""
    return slice(total * shard // shards, total * (shard + 1) // shards)
