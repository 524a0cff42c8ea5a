import pytest

from wk_potential.errors import ExportError
from wk_potential.export import exporting


def test_export(run, model, tmp_path):
    pytest.importorskip("metatomic.torch", reason="exported models need the extra 'torch'")
    text = run("export", model, "-o", tmp_path / "cu.pt").output
    assert "Left out of the file: error bars" in text
    assert "Written to" in text
    assert (tmp_path / "cu.pt").stat().st_size > 10_000


def test_export_without_the_libraries(run, model, error_line, monkeypatch):
    def missing():
        raise ExportError("torch is missing: install it with `pip install 'wk-potential[torch]'`")

    monkeypatch.setattr(exporting, "check_libraries", missing)
    assert "torch is missing" in error_line(run("export", model, "-o", "cu.pt", code=1))
