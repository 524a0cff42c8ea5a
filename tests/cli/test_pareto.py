import json


def test_errors_against_time(run, model, data, tmp_path):
    written = ["--json", tmp_path / "pareto.json", "--plot", tmp_path / "pareto.png"]
    text = run("pareto", model, data, "--test", data, *written).output
    assert "multiply-adds" in text
    assert "Written to" in text
    table = json.loads((tmp_path / "pareto.json").read_text())
    assert table
    costs = [row["thousand_multiply_adds"] for row in table]
    assert costs == sorted(costs)
    assert all(row[name] > 0 for row in table for name in ("microseconds", "microseconds_float32", "forces_mae"))
    assert (tmp_path / "pareto.png").stat().st_size > 1000


def test_map_within_a_time(run, model, data, tmp_path, error_line):
    text = run("map", model, data, "--microseconds", 1e6, "-o", tmp_path / "direct.wkp").output
    assert "The direct kernel takes" in text
    assert (tmp_path / "direct.wkp").exists()
    refused = run("map", model, data, "--microseconds", 1e-6, "-o", tmp_path / "none.wkp", code=1)
    assert "no form is within 1e-06 µs per atom: the fastest takes" in error_line(refused)
    assert not (tmp_path / "none.wkp").exists()
    both = run("map", model, data, "--microseconds", 5, "--tolerance", 1e-3, "-o", "x.wkp", code=1)
    assert "exclude each other" in error_line(both)


def test_structures_without_labels(run, model, data, tmp_path, error_line):
    (tmp_path / "bare.xyz").write_text('1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3\nCu 0 0 0\n')
    refused = run("pareto", model, data, "--test", tmp_path / "bare.xyz", code=1)
    assert "no energy, forces or stress" in error_line(refused)
