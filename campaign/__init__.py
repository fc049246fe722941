"""Faults made on purpose, many times, and an exact comparison after each: `python -m campaign`.

A part is a module with `trials(seed, number)`, which makes one trial and returns its row. What is
random in it comes from (seed, part, number), so that any trial can be made again alone.
"""

# By name, the module of each part; imported when it is asked for.
PARTS = {
    "kills": "campaign.kills",
    "disk": "campaign.disk",
    "file-system": "campaign.file_system",
    "inputs": "campaign.inputs",
    "concurrency": "campaign.concurrency",
    "services": "campaign.services",
    "secrets": "campaign.canary",
    "supply": "campaign.supply",
    "numerics": "campaign.numerics",
    "long-run": "campaign.long_run",
}
