"""What cannot be exported is refused in one line, with or without PyTorch."""

import dataclasses

import pytest
from oracles.mapped import exactly_mapped

from wk_potential import export_model
from wk_potential.errors import ExportError, OptionsError
from wk_potential.export import exporting


def test_what_is_refused(random_model, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    unmapped = random_model(cutoffs=(4.0,), order_weights=(0.1, 0.03))
    mapped = exactly_mapped(unmapped)
    high = random_model(order_weights=(0.1, 0.03, 0.01, 0.01, 0.01))
    cases = [
        (unmapped, "the model has none: make one with `wk-potential map"),
        (high, "orders 5 and 6 have none: train a model with --order 4"),
        (dataclasses.replace(mapped, scales=[], tensors={"dipole": None}), "predicts dipole alone"),
        (dataclasses.replace(mapped, baseline_potential="GFN2-xTB"), r"adds to GFN2-xTB, .* `wk-potential distil`"),
    ]
    for model, message in cases:
        with pytest.raises(ExportError, match=message):
            export_model(model, path)
    with pytest.raises(OptionsError, match="precision"):
        export_model(mapped, path, "float16")
    monkeypatch.setattr(exporting, "LIBRARIES", ("no_such_library.at_all",))
    with pytest.raises(ExportError, match=r"pip install 'wk-potential\[torch\]'"):
        export_model(mapped, path)
    assert not path.exists()
