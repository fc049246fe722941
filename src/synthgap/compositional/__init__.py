"""Compositional benchmarks: GenEval and DPG-Bench.

Prompt sets, the layout of the images and the scores live here. What looks at the images, an old
object detector and a model that answers questions, runs in software environments of its own; the
modules `geneval_rules`, `dpg_questions` and `resuming` are read there too. They get by with the
standard library and numpy, and with Python 3.9; so does this file.
"""
