"""The live line: what it says, at which width, and when a log gets a line."""

import json

import pytest

from synthgap import live


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run_of(clock, **jobs):
    run = live.Run(clock)
    run.plan(jobs)
    return run


def make(run, clock, stage, seconds, images=0, job=None):
    job = job or object()
    run.begin(job, stage)
    clock.now += seconds
    return run.end(job, images)


def test_nothing_is_claimed_before_anything_is_known(clock):
    run = run_of(clock, index_real=1, generate_images=2)
    assert run.line(99) == "0/3 jobs 0 % · ? left"
    run.begin(1, "index_real")
    clock.now += 5
    assert run.left() is None
    assert run.images_per_second() is None
    assert run.line(99) == "0/3 jobs 0 % · ? left · index real"


def test_time_left_is_that_of_the_stages_seen(clock):
    run = run_of(clock, generate_images=4)
    make(run, clock, "generate_images", 60)
    assert run.left() == live.Left(180.0, at_least=False)
    run.begin(2, "generate_images")
    clock.now += 20
    assert run.left().seconds == pytest.approx(2 * 60 + 40)


def test_jobs_side_by_side_halve_the_time_left(clock):
    run = run_of(clock, generate_images=6)
    run.begin(1, "generate_images")
    run.begin(2, "generate_images")
    clock.now += 60
    run.end(1)
    run.end(2)
    assert run.left().seconds == pytest.approx(120)


def test_time_left_is_never_less_than_a_whole_job(clock):
    run = run_of(clock, generate_images=5)
    for job in range(4):
        run.begin(job, "generate_images")
    clock.now += 60
    for job in range(4):
        run.end(job)
    assert run.left().seconds == pytest.approx(60)


def test_unknown_stages_make_it_a_lower_bound_or_unknown(clock):
    run = run_of(clock, generate_images=10, train_classifier=3, all=1)
    make(run, clock, "generate_images", 60)
    assert run.left().at_least
    assert "> 9 min left" in run.line(99)
    run = run_of(clock, generate_images=2, train_classifier=9)
    make(run, clock, "generate_images", 60)
    assert run.left() is None
    # The target is a job, too, and takes no time.
    run = run_of(clock, generate_images=2, all=1)
    make(run, clock, "generate_images", 60)
    assert run.left() == live.Left(60.0, at_least=False)


def test_earlier_runs_tell_what_this_one_has_not_seen(clock):
    run = run_of(clock, generate_images=2, train_classifier=3)
    run.remember({"generate_images": [60.0], "train_classifier": [10.0, 30.0]})
    run.begin(1, "generate_images")
    clock.now += 30
    assert run.left().seconds == pytest.approx(30 + 60 + 3 * 20)
    # Three jobs of this run are enough to forget earlier ones.
    run = run_of(clock, train_classifier=4)
    run.remember({"train_classifier": [1000.0]})
    for _ in range(3):
        make(run, clock, "train_classifier", 5)
    assert run.left().seconds == pytest.approx(5)


def test_images_a_second_are_of_the_last_minute(clock):
    run = run_of(clock, generate_images=9)
    make(run, clock, "generate_images", 10, images=100)
    assert run.images_per_second() == pytest.approx(10)
    make(run, clock, "generate_images", 40, images=100)
    assert run.images_per_second() == pytest.approx(4)
    clock.now += 59
    assert run.images_per_second() == pytest.approx(100 / 60)
    clock.now += 2
    assert run.images_per_second() is None


def test_of_long_jobs_the_speed_is_over_the_time_of_one(clock):
    run = run_of(clock, generate_images=9)
    make(run, clock, "generate_images", 1800, images=9000)
    assert run.images_per_second() == pytest.approx(5)
    clock.now += 900
    assert run.images_per_second() == pytest.approx(5)


def test_a_failed_job_may_begin_again(clock):
    run = run_of(clock, generate_images=2)
    run.begin(1, "generate_images")
    run.fail(1)
    assert run.line(99) == "0/2 jobs 0 % · 1 failed · ? left"
    assert make(run, clock, "generate_images", 4, job=1) is None
    assert make(run, clock, "generate_images", 4, job=2) == "generate_images"
    assert run.percent == 100


@pytest.mark.parametrize("width", range(1, 140))
def test_the_line_fits_any_width(clock, width):
    run = run_of(clock, generate_images=100, train_classifier=100, measure_distribution=3)
    for _ in range(60):
        make(run, clock, "generate_images", 10, images=1234)
    run.begin("a", "generate_images")
    run.begin("b", "generate_images")
    run.begin("c", "train_classifier")
    run.begin("d", "measure_distribution")
    line = run.line(width)
    assert len(line) <= width
    assert line.startswith("60/203 jobs 29 %"[:width])
    if width >= 130:
        assert line.endswith("generate images ×2, measure distribution, train classifier")
    if width >= 60:
        assert "123 images/s" in line


def test_a_log_gets_few_lines(clock):
    run = run_of(clock, generate_images=1000, gather_shards=1)
    lines = live.Lines(run, clock=clock)
    written = []
    for _ in range(1000):
        finished = make(run, clock, "generate_images", 1)
        written.append(lines.due(finished))
    told = [line for line in written if line]
    assert 25 <= len(told) <= 34
    assert told[-1].startswith("generate images: done · 1000/1001 jobs 99 %")
    assert all(len(line) <= 100 for line in told)
    # Where nothing moves, it says so every ten minutes.
    clock.now += 599
    assert lines.due() is None
    clock.now += 1
    assert lines.due()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"),
     (7500, "2 h 05 min"), (190000, "2 d 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert live.duration(seconds) == text


@pytest.mark.parametrize(("speed", "text"), [(0.031, "0.031"), (2.34, "2.3"), (1234.5, "1,234")])
def test_rates(speed, text):
    assert live.rate(speed) == text


def test_images_are_counted_by_the_facts_of_shards(tmp_path):
    shard = tmp_path / "results/images/real/train/rgb"
    shard.mkdir(parents=True)
    (shard / "00000.json").write_text(json.dumps({"images": 40}))
    (shard / "00001.json").write_text("half a fi")
    outputs = [f"{shard}/00000.tar", f"{shard}/00000.json", f"{shard}/00001.json"]
    assert live.images_made(outputs) == 40
    assert live.images_made([f"{shard}/00002.json"]) == 0
    view = tmp_path / "results/images/real/train/low"
    view.mkdir(parents=True)
    (view / "00000.json").write_text(json.dumps({"images": 40}))
    assert live.images_made([f"{view}/00000.json"]) == 0


def test_benchmarks_of_earlier_runs(tmp_path):
    folder = tmp_path / "results/benchmarks"
    (folder / "train_classifier/real").mkdir(parents=True)
    for seed in range(3):
        text = f"s\tmax_rss\n{seed + 1}.5\t-\n"
        (folder / f"train_classifier/real/seed-{seed}.tsv").write_text(text)
    (folder / "collect_metrics.tsv").write_text("s\tmax_rss\n4.0\t10\n")
    (folder / "write_report.tsv").write_text("")
    stages = ["train_classifier", "collect_metrics", "write_report", "all"]
    found = live.earlier_seconds(folder, stages)
    assert {stage: sorted(seconds) for stage, seconds in found.items()} == {
        "train_classifier": [1.5, 2.5, 3.5],
        "collect_metrics": [4.0],
    }
    assert len(live.earlier_seconds(folder, stages, most=2)["train_classifier"]) == 2


@pytest.mark.parametrize(
    ("benchmark", "stage"),
    [("out/benchmarks/collect_metrics.tsv", "collect_metrics"),
     ("out/benchmarks/train_classifier/real/rgb/seed-0.tsv", "train_classifier")],
)  # fmt: skip
def test_the_benchmarks_folder_is_found_by_a_jobs_own(benchmark, stage):
    assert str(live.benchmarks_folder(benchmark, stage)) == "out/benchmarks"
    assert live.benchmarks_folder(benchmark, "another") is None
