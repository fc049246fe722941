"""Seeds derived by a hash, so that they depend on what a sample is and on nothing else."""

import hashlib
import json


def derive_seed(*parts: str | int) -> int:
    """Return an integer in [0, 2**63) that depends on all `parts` and their order.

    A sample's seed comes from (study seed, source, class, index). Its shard, its place in a
    batch and the rank that makes it do not enter, so resharding changes no seed.

    Examples:
        >>> derive_seed(0, "real", "fox", 3) == derive_seed(0, "real", "fox", 3)
        True
        >>> derive_seed(0, "real", "fox", 3) == derive_seed(0, "real", "fox", 4)
        False
    """
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
