"""Seeds derived by a hash, so that they depend on what a sample is and on nothing else."""

import hashlib
import json


def derive_seed(*parts: str | int) -> int:
    """Return an integer in [0, 2**63) that depends on all `parts` and their order.

    A sample's seed comes from (study seed, source, class, index). Its shard, its place in a
    batch and the rank that makes it do not enter, so resharding changes no seed.
    """
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
