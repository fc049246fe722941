"""A damaged file is named and never used: digests beside files, and sealed unfinished work."""

import subprocess
import sys

import pytest

from synthgap import checksums
from synthgap.atomic import read_sealed, write_sealed
from synthgap.errors import UserError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"0123456789" * 100)
    checksums.note([path])
    return path


def test_a_whole_file_passes_and_sha256sum_agrees(table):
    checksums.check([table])
    command = ["sha256sum", "--check", "--quiet", ".table.parquet.sha256"]
    assert subprocess.run(command, cwd=table.parent).returncode == 0


@pytest.mark.parametrize("place", [0, 500, 999])
def test_a_flipped_bit_is_found_and_the_file_named(table, place):
    content = bytearray(table.read_bytes())
    content[place] ^= 4
    table.write_bytes(content)
    with pytest.raises(UserError, match=r"table.parquet is damaged: .* delete .*table.parquet and"):
        checksums.check([table])


def test_a_file_that_is_cut_short_or_gone_is_named(table):
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"table.parquet is damaged"):
        checksums.check([table])
    table.unlink()
    with pytest.raises(UserError, match=r"table.parquet is gone"):
        checksums.check([table])


@pytest.mark.parametrize("left", [0, 40, 64, 66])
def test_a_note_that_is_cut_short_is_damaged_itself(table, left):
    note = checksums.note_of(table)
    note.write_bytes(note.read_bytes()[:left])
    with pytest.raises(UserError, match=r"sha256 is damaged: .* delete .*/table.parquet and"):
        checksums.check([table])
    assert not checksums.intact(table)
    assert not note.exists()


def test_a_note_that_cannot_be_read_is_an_error(table):
    note = checksums.note_of(table)
    note.unlink()
    note.mkdir()
    with pytest.raises(OSError, match=r"table\.parquet\.sha256"):
        checksums.check([table])


def test_files_that_nobody_noted_are_read_as_they_are(tmp_path):
    (tmp_path / "mine.csv").write_text("a")
    checksums.check([tmp_path / "mine.csv", tmp_path / "absent", tmp_path])


def test_a_folder_and_what_is_in_it(tmp_path):
    model = tmp_path / "model"
    (model / "2").mkdir(parents=True)
    for name in ("a.json", "2/weights.safetensors", "\x85 a\rname"):
        (model / name).write_bytes(b"whole")
    checksums.note([model])
    checksums.check([model, model / "2", model / "a.json"])
    (model / "2/weights.safetensors").write_bytes(b"whale")
    checksums.check([model / "a.json"])
    for path in (model, model / "2"):
        with pytest.raises(UserError, match=r"weights.safetensors is damaged.*delete .*model and"):
            checksums.check([path])


def test_of_a_tar_the_rows_beside_it_are_noted(tmp_path):
    tar, rows = tmp_path / "0.tar", tmp_path / "0.parquet"
    tar.write_bytes(b"images")
    rows.write_bytes(b"rows")
    checksums.note([tar])
    tar.write_bytes(b"other")  # whose images are compared when they are read
    checksums.check([tar])
    rows.write_bytes(b"raws")
    with pytest.raises(UserError, match=r"0.parquet is damaged"):
        checksums.check([tar])


def test_what_is_written_anew_has_no_digest_until_it_is_whole(table):
    checksums.forget([table])
    table.write_bytes(b"other")
    checksums.check([table])
    checksums.note([table])
    checksums.check([table])


COMMAND = """
from synthgap.job import command, input_path, output_path, json_object, run
parser = command("")
parser.add_argument("--table", type=input_path)
parser.add_argument("--named", type=json_object)
parser.add_argument("--copy", type=output_path)
run(parser, lambda args: args.copy and args.copy.write_bytes(args.table.read_bytes()))
"""


def test_long_words_in_settings_are_no_files(tmp_path):
    told = '{"prompt": "' + "a/" + "b" * 5000 + '"}'
    done = subprocess.run([sys.executable, "-c", COMMAND, "--named", told], cwd=tmp_path)
    assert done.returncode == 0


@pytest.mark.parametrize("option", ["--table", "--named"])
def test_a_job_notes_what_it_writes_and_refuses_what_is_damaged(tmp_path, option):
    (tmp_path / "table.csv").write_text("1, 2")

    def job(*options):
        command = [sys.executable, "-c", COMMAND, *options]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    made = job("--table", "table.csv", "--copy", "./copy.csv")
    assert made.returncode == 0, made.stderr
    given = {"--table": "./copy.csv", "--named": '{"files": ["./copy.csv"]}'}[option]
    assert job(option, given).returncode == 0
    (tmp_path / "copy.csv").write_text("1, 3")
    refused = job(option, given)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: copy.csv is damaged")


def test_sealed_work_is_read_back_or_removed_where_it_is_damaged(tmp_path):
    path = tmp_path / "state"
    assert read_sealed(path) is None
    write_sealed(path, b"content")
    assert read_sealed(path) == b"content"
    for damage in (lambda c: c[:-1], lambda c: c[:10], lambda c: c[:-1] + b"x", lambda _: b""):
        write_sealed(path, b"content")
        path.write_bytes(damage(path.read_bytes()))
        assert read_sealed(path) is None
        assert not path.exists()
