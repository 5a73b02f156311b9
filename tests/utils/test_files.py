import pytest

from lightning_aqa.utils.files import replacing


def test_the_file_is_there_once_it_is_complete(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with replacing(path) as file:
        file.write("new\r\né")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_bytes() == "new\r\né".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail():
        with replacing(path) as file:
            file.write("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
