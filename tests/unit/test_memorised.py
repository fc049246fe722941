"""Copies of training images, and classes of generated ones, counted."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import measure_memorised
from synthgap.errors import UserError
from synthgap.metrics.intervals import wilson
from synthgap.metrics.measures import read_measures
from synthgap.metrics.memorised import class_shares, memorised


def test_copies_are_as_near_as_the_threshold_or_nearer():
    values = {"ssim": np.array([0.2, 0.9, 0.95, 1.0]), "lpips": np.array([0.0, 0.05, 0.06, 0.4])}
    by_ssim, by_lpips = memorised(values, {"ssim": 0.95, "lpips": 0.05})
    assert (by_ssim.metric, by_ssim.value, by_ssim.n) == ("memorised_share_ssim", 0.5, 4)
    assert (by_lpips.metric, by_lpips.value) == ("memorised_share_lpips", 0.5)
    assert (by_ssim.low, by_ssim.high) == wilson(2, 4)[1:]
    assert by_ssim.settings == {"threshold": 0.95}
    with pytest.raises(UserError, match="lpips: not among what was measured, ssim"):
        memorised({"ssim": values["ssim"]}, {"lpips": 0.1})


def test_shares_of_classes_add_up_and_others_are_counted():
    found = class_shares(np.array([0, 0, 1, 2, 2, 2, 2, 2]), ["a", "b", "c"], [0, 1])
    shares = {one.settings["class"]: one.value for one in found if one.metric == "class_share"}
    assert shares == {"a": 0.25, "b": 0.125, "c": 0.625}
    [others] = [one for one in found if one.metric == "other_classes_share"]
    assert others.value == 0.625
    assert 0 < others.low < 0.625 < others.high < 1
    assert len(class_shares(np.array([0]), ["a", "b"])) == 2


def test_the_command_reads_what_replication_found(tmp_path):
    nearest, out = tmp_path / "nearest.parquet", tmp_path / "out.json"
    pq.write_table(pa.table({"key": ["a", "b"], "ssim": [0.5, 0.99]}), nearest)
    told = ["--nearest", str(nearest), "--output", str(out), "--about", '{"study": "casd"}']
    parse = measure_memorised.options().parse_args
    measure_memorised.main(parse([*told, "--thresholds", '{"ssim": 0.95}']))
    [one], about = read_measures(out)
    assert (one.value, about) == (0.5, {"study": "casd"})
    with pytest.raises(UserError, match="has no column lpips"):
        measure_memorised.main(parse([*told, "--thresholds", '{"lpips": 0.1}']))
