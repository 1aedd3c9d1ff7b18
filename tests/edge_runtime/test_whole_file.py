"""A small file is there whole or not at all, under the name and the rights it had."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge_runtime.whole_file import write_whole


def test_a_file_keeps_its_rights_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "edge.toml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_whole(link, "new\r\n")
    assert real.read_bytes() == b"new\r\n"
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    write_whole(link, b"secret", private=True)
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_where_it_cannot_be_written_the_old_file_stands(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text("old")
    (tmp_path / "edge.toml.new").mkdir()
    with pytest.raises(OSError, match="irectory"):
        write_whole(file, "new")
    assert file.read_text() == "old"
