import json
import math

import pytest

from synthgap.errors import UserError
from synthgap.metrics.measures import Measure, read_measures, write_measures

DENSITY = Measure("density_k5_euclidean", 1.2, 30, 1.0, 1.4, {"class": "owl"}, "density")


def test_plain_names_stand_at_the_top_and_all_is_read_back(tmp_path):
    path = tmp_path / "metrics.json"
    other = Measure("share", 0.5, 4)
    write_measures(path, [DENSITY, other], {"study": "transfer"}, {"seconds": 1})
    content = json.loads(path.read_text())
    assert content["density"] == 1.2
    assert content["measures"][1]["low"] is None
    measures, about = read_measures(path)
    assert about == {"study": "transfer"}
    assert measures[0] == DENSITY
    assert math.isnan(measures[1].low)


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"m\.json: share is nan"):
        write_measures(tmp_path / "m.json", [Measure("share", math.nan, 4)])
    with pytest.raises(UserError, match="two numbers of one name among density, density"):
        write_measures(tmp_path / "m.json", [DENSITY, DENSITY])
    (tmp_path / "m.json").write_text('{"density": 1}')
    with pytest.raises(UserError, match="not a file of measured numbers"):
        read_measures(tmp_path / "m.json")
