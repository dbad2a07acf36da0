"""Files are whole or not there, and JSON is strict."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zoo.errors import FormatError
from zoo.files import MAX_DEPTH, TEMPORARY, new_folder, parse_json, read_json, sweep, to_json, write_atomically


@contextmanager
def full_disk() -> Iterator[None]:
    """The kernel refuses to let any file grow beyond 4096 bytes: a real short write, as on a full disk.

    No longer than needed: the log that the tests themselves are written to is a file too.
    """
    resource = pytest.importorskip("resource", reason="this system puts no limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail_after_a_part(path: Path) -> None:
    path.write_bytes(b"half of the new")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_written_file_holds_all_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    write_atomically(path, lambda temporary: temporary.write_text("newer"))
    assert path.read_text() == "newer"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("x")
    write_atomically(atomic, lambda temporary: temporary.write_text("x"))
    assert stat.S_IMODE(atomic.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_writer_is_given_the_suffix_of_the_file(tmp_path: Path) -> None:
    seen = []
    write_atomically(tmp_path / "a.png", lambda temporary: seen.append(temporary.suffix) or temporary.touch())
    assert seen == [".png"]


@pytest.mark.parametrize("failure", [fail_after_a_part, lambda path: 1 / 0, lambda path: None])
def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary(tmp_path: Path, failure: object) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises((OSError, ZeroDivisionError)):
        write_atomically(path, failure)  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_fills_up_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="File too large"), full_disk():
        write_atomically(path, lambda temporary: temporary.write_bytes(b"x" * 100_000))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_interrupt_keeps_the_old_file(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_folder_appears_at_once_with_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "card"
    with new_folder(path) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("2")
        assert not path.exists()
    assert (path / "a").read_text() + (path / "sub" / "b").read_text() == "12"
    assert os.listdir(path.parent) == ["card"]


def test_a_failed_new_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), new_folder(tmp_path / "card") as temporary:
        fail_after_a_part(temporary / "a")
    assert os.listdir(tmp_path) == []


def test_a_new_folder_never_replaces_one_that_holds_files(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "a").write_text("old")
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "card") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "card" / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["card"]


def test_sweep_removes_old_temporaries_and_nothing_else(tmp_path: Path) -> None:
    file, folder = tmp_path / f"{TEMPORARY}1.png", tmp_path / f"{TEMPORARY}2"
    folder.mkdir()
    for path in (file, folder / "part", tmp_path / f"{TEMPORARY}young", tmp_path / "mine", tmp_path / ".hidden"):
        path.write_text("x")
    for path in (file, folder, tmp_path / "mine", tmp_path / ".hidden"):
        os.utime(path, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", f"{TEMPORARY}young", "mine"]
    sweep(tmp_path, older_than=0)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "mine"]


def test_sweep_of_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    sweep(tmp_path / "none")


BROKEN_JSON = {
    "nothing": b"",
    "half": b'{"a": 1',
    "twice the same key": b'{"a": 1, "a": 2}',
    "twice the same key inside": b'[{"b": {"a": 1, "a": 1}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b"[-Infinity]",
    "a number beyond all floats": b'{"a": 1e999}',
    "an integer of 5000 digits": b"1" * 5000,
    "a comment": b"{} // more",
    "two values": b"{}{}",
    "single quotes": b"{'a': 1}",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lists 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "one too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "100,000 keys, the last one twice": b"{" + b"".join(b'"%d":0,' % i for i in range(100_000)) + b'"99999":0}',
}


@pytest.mark.parametrize("name", BROKEN_JSON)
def test_json_that_is_not_strict_is_refused_by_name_and_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(BROKEN_JSON[name])
    started = time.process_time()
    with pytest.raises(FormatError) as refusal:
        read_json(path)
    assert time.process_time() - started < 1
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_json_as_deep_as_allowed_is_read() -> None:
    value = parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "x")
    assert str(value) == "[" * MAX_DEPTH + "]" * MAX_DEPTH


def test_a_json_file_over_its_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: reading it would end the process
    with pytest.raises(FormatError, match=rf"{path}.*{1 << 40} bytes, at most 100"):
        read_json(path, limit=100)


@pytest.mark.parametrize("name", ["missing.json", "folder", "/dev/zero"])
def test_json_from_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FormatError, match="no such file"):
        read_json(tmp_path / name)


def test_written_json_is_read_back_and_is_written_the_same_again() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"Größe": "ü\n"}}
    text = to_json(value)
    assert parse_json(text.encode(), "x") == value
    assert to_json(parse_json(text.encode(), "x")) == text
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))
