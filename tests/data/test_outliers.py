"""Frames with faults that people make are named, with what is wrong with them, and hardly any others."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from oracles.faults import alloy_frames, with_faults

from wk_potential import TrainingOptions, read_frames
from wk_potential.atoms.kinds import LabelKind
from wk_potential.data.left_out import DOUBTED, Errors, fitting_options, left_out_errors_of, predicted_labels
from wk_potential.data.outliers import FEWEST, LEAST, find_outliers
from wk_potential.data.reasons import exchange_gains, exchange_score, reason_of
from wk_potential.data.summary import summarise
from wk_potential.errors import DataError
from wk_potential.training.sparse.regression import left_out
from wk_potential.training.task import quiet

OPTIONS = TrainingOptions(lmax=2, order=3, cutoff=5.0, support_points=200)
LOOKS_LIKE = {  # frame: what the report has to say
    3: "in Ha",
    11: "in kcal/mol",
    17: "in Ha/bohr",
    24: r"off by \+(1\.0|0\.99)",
    31: "are exchanged",
    38: "noisy or not converged",
    45: "opposite sign",
    52: "in GPa",
    57: r"other labels than alloy\.xyz@33",
}


@pytest.fixture(scope="module")
def planted():
    """Frames with ten faults, and what they are."""
    return with_faults(alloy_frames(70))


@pytest.fixture(scope="module")
def found(planted):
    """Outliers among them."""
    return find_outliers(planted[0], OPTIONS, threads=1)


@pytest.fixture(scope="module")
def summary(planted):
    """A summary of them."""
    return summarise(planted[0], threads=1)


@pytest.mark.train
def test_ten_faults_are_named_and_hardly_any_sound_frame(planted, found, summary):
    frames, faults = planted
    assert len(faults) == 10
    repeated = {name for group in summary.duplicates for name in group["frames"][1:]}
    named = set(found.named) | {f.number for f in summary.findings} | {int(name.partition("@")[2]) for name in repeated}
    assert set(faults) <= named
    assert len(named - set(faults)) <= 0.02 * (len(frames) - len(faults))


@pytest.mark.train
@pytest.mark.parametrize("k", LOOKS_LIKE)
def test_what_is_wrong_is_said(found, k):
    reasons = [f.reason for f in found.findings if f.number == k]
    assert any(re.search(LOOKS_LIKE[k], reason) for reason in reasons), reasons


@pytest.mark.train
def test_sizes_are_errors_in_error_bars_largest_first(found):
    sizes: dict[int, float] = {}
    for f in found.findings:
        sizes[f.number] = max(f.size, sizes.get(f.number, 0.0))
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    scores = np.stack(list(found.scores.values()))
    for k, size in sizes.items():
        assert size == pytest.approx(np.nanmax(scores[:, k]))
    sound = [k for k in range(70) if k not in found.named]
    assert np.nanmedian(found.scores["forces"][sound]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.train
def test_frames_that_are_not_named_are_clean(planted, found):
    clean = found.clean()
    assert len(clean) == 70 - len(found.named)
    assert not {frame.source for frame in clean} & {planted[0][k].source for k in found.named}
    json.dumps(found.to_json(), allow_nan=False)


def test_a_summary_sees_units_without_a_model(summary):
    texts = {f.number: f.reason for f in summary.findings if f.what == "energy"}
    assert "in Ha" in texts[3]
    assert "in kcal/mol" in texts[11]
    assert {11, 17} <= {f.number for f in summary.findings if f.what == "forces"}
    assert {f.number for f in summary.findings} <= {3, 11, 17, 38, 52}
    by_frames = {tuple(group["frames"]): group["same_labels"] for group in summary.duplicates}
    assert by_frames == {("alloy.xyz@20", "alloy.xyz@50"): True, ("alloy.xyz@33", "alloy.xyz@57"): False}
    json.dumps(summary.to_json(), allow_nan=False)


def test_a_file_in_another_unit_is_told_from_the_others():
    good, bad = alloy_frames(20), alloy_frames(8, 1, "hartree.xyz")
    bad = [replace(f, energy=f.energy / 27.211386) for f in bad]
    doubts = summarise([*good, *bad], threads=1).doubts
    assert any(text.startswith("hartree.xyz: ") and "in Ha" in text for text in doubts), doubts
    assert not [text for text in doubts if text.startswith("alloy.xyz: ")]
    assert summarise(good, threads=1).doubts == []


def test_left_out_errors_and_deviations_are_those_of_dense_algebra():
    """Bayesian linear regression without the labels that are left out."""
    rng = np.random.default_rng(0)
    features, noise, own = rng.normal(size=(40, 7)), 0.3, np.arange(12, 17)
    values = features @ rng.normal(size=7) + noise * rng.normal(size=40)
    rest = np.setdiff1d(np.arange(40), own)
    inverse = np.linalg.inv(features[rest].T @ features[rest] / noise**2 + np.eye(7))
    mean = inverse @ features[rest].T @ values[rest] / noise**2
    variance = np.diag(features[own] @ inverse @ features[own].T) + noise**2
    whole = np.linalg.inv(features.T @ features / noise**2 + np.eye(7))
    rows = features[own] @ np.linalg.cholesky(whole) / noise
    fitted = features[own] @ whole @ features.T @ values / noise**2
    errors, deviations = left_out(rows, (values[own] - fitted) / noise)
    assert noise * errors == pytest.approx(values[own] - features[own] @ mean)
    assert noise * deviations == pytest.approx(np.sqrt(variance))


@pytest.mark.train
def test_a_doubted_frame_tells_nothing_and_still_has_its_error():
    frames = alloy_frames(24)
    doubted = np.arange(24) == 7
    arguments = doubted, fitting_options(OPTIONS), 1, quiet, quiet
    plain = left_out_errors_of(frames, frames, *arguments)
    shifted = [
        replace(f, energy=f.energy + 3.0, forces=-f.forces) if d else f for f, d in zip(frames, doubted, strict=True)
    ]
    other = left_out_errors_of(shifted, frames, *arguments)
    for k in range(24):
        if k != 7:
            assert other[k][LabelKind.FORCES].values == pytest.approx(plain[k][LabelKind.FORCES].values)
    assert other[7][LabelKind.ENERGY].values - plain[7][LabelKind.ENERGY].values == pytest.approx(np.array([3.0]))
    assert other[7][LabelKind.FORCES].deviations == pytest.approx(plain[7][LabelKind.FORCES].deviations)
    usual = np.median([plain[k][LabelKind.FORCES].deviations.mean() for k in range(24)])
    assert plain[7][LabelKind.FORCES].deviations.mean() < 10 * usual < 10 / np.sqrt(DOUBTED) * usual
    back = predicted_labels(shifted[7], other[7])
    assert back.forces == pytest.approx(predicted_labels(frames[7], plain[7]).forces)
    assert "opposite sign" in reason_of(LabelKind.FORCES, shifted[7], other[7], False)


def test_gains_of_exchanges_are_those_of_trying_them():
    rng = np.random.default_rng(0)
    forces, predicted, deviations = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.uniform(0.5, 2, (5, 3))
    gains = exchange_gains(forces, Errors(forces - predicted, deviations))
    before = np.sum(((forces - predicted) / deviations) ** 2)
    for i in range(5):
        for j in range(5):
            order = np.arange(5)
            order[[i, j]] = order[[j, i]]
            after = np.sum(((forces[order] - predicted) / deviations) ** 2)
            assert gains[i, j] == pytest.approx(before - after, abs=1e-9)


def test_an_exchange_is_seen_among_errors_nearly_as_large_as_it():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        predicted, deviations = 3 * rng.normal(size=(27, 3)), np.full((27, 3), 0.5)
        forces = predicted + 0.5 * rng.normal(size=(27, 3))
        sound = exchange_score(forces, Errors(forces - predicted, deviations))
        forces[[3, 8]] = forces[[8, 3]]
        size = np.linalg.norm(predicted[3] - predicted[8]) / 0.5
        found.append((sound, exchange_score(forces, Errors(forces - predicted, deviations)), size))
    sound, exchanged, sizes = np.array(found).T
    assert sound.max() < LEAST["exchange"]
    assert exchanged == pytest.approx(sizes, abs=3.0)


def test_few_frames_are_refused():
    with pytest.raises(DataError, match=f"there are 5 frames .* {FEWEST} are needed"):
        find_outliers(alloy_frames(5))


@pytest.mark.train
@pytest.mark.slow
def test_faults_among_real_frames_of_ethanol(shared_data):
    frames = read_frames(shared_data / "rmd17" / "ethanol_train.npz", frames=":120", energy_unit="kcal/mol")
    forces = frames[40].forces[[1, 0, *range(2, 9)]]
    rng = np.random.default_rng(0)
    changes = {
        10: {"energy": frames[10].energy / 27.211386},
        20: {"forces": frames[20].forces * 23.0605},
        30: {"energy": frames[30].energy + 1.0},
        40: {"forces": forces},
        50: {"forces": frames[50].forces + rng.normal(0, 0.2, (9, 3))},
    }
    wrong = [replace(f, **changes.get(k, {})) for k, f in enumerate(frames)]
    named = set(find_outliers(wrong).named)
    assert set(changes) <= named
    assert len(named - set(changes)) <= 2
