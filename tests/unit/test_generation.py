"""Generation: a forced unit has its value everywhere; a text depends on what it is alone."""

from __future__ import annotations

import json
import zlib
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch

from babelscope.analysis.controls import (
    Held,
    draw_random,
    hold_random,
    measure_units,
    numbers_of,
    z_scores,
)
from babelscope.analysis.experts import of_model, select_experts
from babelscope.analysis.forcing import UnitSet, force_units
from babelscope.analysis.generation import (
    TextRequest,
    forced_experts,
    generate_step,
    generate_texts,
    is_degenerate,
    text_requests,
)
from babelscope.analysis.sampling import sample_tokens
from babelscope.analysis.settings import GenerationSettings
from babelscope.analysis.texts import _Bootstrap, collect_generation, count_hits, summarise_generation
from babelscope.capture.extraction import extract_language
from babelscope.capture.settings import ExtractionSettings
from babelscope.capture.store import UnitFile, write_units
from babelscope.errors import DataError, NumericsError, StudyError
from babelscope.io.h5 import atomic_h5
from babelscope.models.dimensions import site_widths
from babelscope.models.hooks import site_modules, watching
from babelscope.stats import interval_over_runs
from babelscope.units import UnitIndex
from score_files import rank, score
from tiny_models import DECODERS, ENCODERS, MIXTURES, SENTENCES, WORDS, tiny_loaded

SITES = ["attn_qkv", "attn_out", "mlp_in", "mlp_act", "mlp_out", "resid"]
SAMPLING = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 0.9, "batch_size": 4}


def generate(loaded, requests, *, seed=1, where="the model", **changes):
    settings = GenerationSettings(k=1, **{**SAMPLING, **changes})
    return generate_texts(loaded, requests, settings, seed=seed, where=where)


def n_hooks(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def some_units(loaded, seed: int = 0) -> UnitSet:
    """First, last and a middle unit of every (layer, site)."""
    rng = np.random.default_rng(seed)
    rows = [
        (layer, site, unit, float(value))
        for (layer, site), width in site_widths(loaded.config, SITES).items()
        for unit, value in zip((0, width // 2, width - 1), rng.normal(size=3), strict=True)
    ]
    return UnitSet(*zip(*rows, strict=True))


def recorded(loaded, run) -> dict:
    """What every site puts out while ``run`` runs, parts joined: list of (B, T, U) per call."""
    seen: dict = {}
    watchers = []
    for layer, site in site_widths(loaded.config, SITES):
        for part, place in enumerate(site_modules(loaded.model, site, layer)):

            def see(values, key=(layer, site, part)):
                seen.setdefault(key, []).append(values.detach().clone())

            watchers.append((place, see))
    with watching(watchers):
        run()
    joined: dict = {}
    for (layer, site, _), calls in sorted(seen.items()):
        joined.setdefault((layer, site), []).append(calls)
    return {
        cell: [torch.cat(parts, dim=-1) for parts in zip(*calls, strict=True)]
        for cell, calls in joined.items()
    }


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("cached", [False, True], ids=["whole", "cached"])
def test_a_forced_unit_has_its_value_at_every_position(architecture, cached):
    loaded = tiny_loaded(architecture)
    units = some_units(loaded)
    ids = torch.tensor([[0, 5, 6, 7], [0, 8, 9, 10], [0, 11, 12, 13]])

    def run():
        if not cached:
            loaded.model(input_ids=ids, use_cache=False)
            return
        cache = None
        for position in range(ids.shape[1]):
            out = loaded.model(input_ids=ids[:, [position]], past_key_values=cache, use_cache=True)
            cache = out.past_key_values

    with torch.inference_mode():
        free = recorded(loaded, run)
        with force_units(loaded.model, [units, None, units]):
            held = recorded(loaded, run)
    for cell, (indices, values) in units.cells.items():
        found = torch.cat(held[cell], dim=1)[..., indices]
        wanted = torch.tensor(values, dtype=found.dtype).expand_as(found[0])
        assert found.shape[1] == 4
        for row in (0, 2):
            assert torch.equal(found[row], wanted), cell
        before = torch.cat(free[cell], dim=1)[..., indices]
        assert torch.allclose(found[1], before[1], atol=1e-6), "a row that nothing is forced in"
    assert n_hooks(loaded.model) == 0


def test_forcing_heals_after_an_error():
    loaded = tiny_loaded("xglm")
    ids = torch.tensor([[0, 5, 6]])
    before = loaded.model(input_ids=ids).logits
    with force_units(loaded.model, [some_units(loaded)]):
        assert not torch.allclose(loaded.model(input_ids=ids).logits, before)
    with pytest.raises(ValueError, match="rows"), force_units(loaded.model, [some_units(loaded)]):
        loaded.model(input_ids=ids.expand(2, -1))
    assert n_hooks(loaded.model) == 0
    assert torch.equal(loaded.model(input_ids=ids).logits, before)


def test_wrong_units_and_batches_are_named():
    loaded = tiny_loaded("xglm")
    nowhere = force_units(loaded.model, [UnitSet([1], ["mlp_in"], [40], [0.0])])
    with pytest.raises(ValueError, match="unit 40 is not in layer 1, site mlp_in, of 40 units"):
        nowhere.__enter__()
    units = UnitSet([1], ["mlp_in"], [3], [0.0])
    with pytest.raises(ValueError, match="forced in 1 rows"), force_units(loaded.model, [units]):
        loaded.model(input_ids=torch.zeros((2, 3), dtype=torch.long))
    assert n_hooks(loaded.model) == 0


def requests_for(loaded, n: int = 10) -> list[TextRequest]:
    units = some_units(loaded)
    return [
        TextRequest("unforced", "*", "*", i, 0, None)
        if i % 2
        else TextRequest("forced", "es", "house", i, 0, units)
        for i in range(n)
    ]


@pytest.mark.parametrize("architecture", ["xglm", "bloom", "llama", "opt", "gemma3_text"])
def test_a_text_does_not_depend_on_its_batch(architecture):
    loaded = tiny_loaded(architecture)
    requests = requests_for(loaded)
    together = generate(loaded, requests, batch_size=10)
    apart = generate(loaded, requests, batch_size=3)
    assert together["text"].tolist() == apart["text"].tolist()
    assert np.allclose(together["nll"], apart["nll"], atol=1e-4, equal_nan=True)
    reordered = generate(loaded, requests[::-1])
    assert reordered["text"].tolist()[::-1] == together["text"].tolist()
    assert together["text"].nunique() > 3


def test_another_seed_gives_other_texts():
    loaded = tiny_loaded("xglm")
    requests = requests_for(loaded)
    one, two = (generate(loaded, requests, seed=s) for s in (1, 2))
    assert one["text"].tolist() != two["text"].tolist()


def test_a_text_ends_before_a_special_token_and_is_scored_without_forcing():
    loaded = tiny_loaded("xglm", scale=0.5)
    table = generate(loaded, requests_for(loaded, 40))
    assert table["n_tokens"].min() < 8, "some text ends early"
    for row in table.itertuples():
        assert not set(row.token_ids) & {0, 1, 2}
        assert row.n_tokens == len(row.token_ids)
        assert row.prompt_ids == "0"
        assert row.text == loaded.tokenizer.decode(row.token_ids, skip_special_tokens=True)
        if not row.token_ids:
            assert np.isnan(row.nll)
            assert row.degenerate
            continue
        ids = torch.tensor([[0, *row.token_ids]])
        with torch.inference_mode():
            logits = loaded.model(input_ids=ids).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item()
        assert row.nll == pytest.approx(expected, abs=1e-4)
        assert row.distinct_share == len(set(row.token_ids)) / len(row.token_ids)


def test_the_likeliest_tokens_without_temperature():
    loaded = tiny_loaded("gpt2")
    requests = [TextRequest("unforced", "*", "*", i, 0, None) for i in (0, 1)]
    table = generate(loaded, requests, temperature=0.0)
    ids = [0]
    for token in table["token_ids"].iloc[0]:
        with torch.inference_mode():
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
        assert token == int(logits.argmax())
        ids.append(token)
    assert table["text"].nunique() == 1


def test_sampling_follows_the_probabilities():
    logits = torch.log(torch.tensor([[0.5, 0.0, 0.3, 0.15, 0.05]])).expand(4000, -1)
    uniforms = torch.from_numpy((np.arange(4000) + 0.5) / 4000)
    counts = torch.bincount(sample_tokens(logits, uniforms, 1.0, 1.0), minlength=5) / 4000
    assert torch.allclose(counts, torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05]), atol=1e-3)
    counts = torch.bincount(sample_tokens(logits, uniforms, 1.0, 0.79), minlength=5) / 4000
    assert torch.allclose(counts, torch.tensor([0.625, 0, 0.375, 0, 0]), atol=1e-3)
    counts = torch.bincount(sample_tokens(logits, uniforms, 1.0, 0.01), minlength=5) / 4000
    assert counts[0] == 1
    colder = torch.bincount(sample_tokens(logits, uniforms, 0.5, 1.0), minlength=5) / 4000
    assert colder[0] == pytest.approx(0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), abs=1e-3)
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert sample_tokens(logits[:2], ends, 1.0, 0.9).tolist() == [0, 3]


def test_logits_that_are_not_finite_are_an_error():
    loaded = tiny_loaded("xglm")
    with torch.no_grad():
        loaded.model.lm_head.weight[5] = torch.nan
    with pytest.raises(NumericsError, match="model m, step 3"):
        generate(loaded, requests_for(loaded), where="model m, step 3")


@pytest.mark.parametrize("architecture", ENCODERS)
def test_encoders_write_no_text(architecture):
    loaded = tiny_loaded(architecture)
    with pytest.raises(StudyError, match="encoders do not write text") as caught:
        generate(loaded, requests_for(loaded), where="model m, step 3")
    assert f"model m, step 3 is of type {architecture}" in str(caught.value)


@pytest.mark.parametrize("architecture", DECODERS)
def test_forced_units_change_what_is_predicted(architecture):
    loaded = tiny_loaded(architecture)
    ids = torch.tensor([[0, 5, 6, 7]])
    for site in SITES:
        # One of each expert: some token is sent to one of them.
        units = range(3, 60, 12) if architecture in MIXTURES and site in ("mlp_in", "mlp_act") else [3]
        unit = UnitSet([1] * len(units), [site] * len(units), units, [5.0] * len(units))
        with torch.inference_mode():
            before = loaded.model(input_ids=ids).logits
            with force_units(loaded.model, [unit]):
                during = loaded.model(input_ids=ids).logits
            after = loaded.model(input_ids=ids).logits
        assert not torch.allclose(during, before, atol=1e-4), site
        assert torch.equal(after, before)


def test_texts_longer_than_the_positions_are_refused():
    loaded = tiny_loaded("gpt2")
    with pytest.raises(StudyError, match=r"generation.max_new_tokens`: got 48.*48 positions"):
        generate(loaded, requests_for(loaded), max_new_tokens=48)


@pytest.mark.parametrize(
    ("ids", "degenerate"),
    [
        ([], True),
        ([5, 6, 7, 8], False),
        ([5] * 6 + [6, 7, 8, 9], True),
        ([5] * 5 + [6, 7, 8, 9], False),
        ([5, 6] * 6, True),
    ],
)
def test_degenerate_texts(ids, degenerate):
    assert is_degenerate("text", ids) is degenerate
    assert is_degenerate(" ", ids)


# ---------------------------------------------------------------------------------- which texts


NAMES = ("house", "water")
UNITS = UnitIndex.of([(1, "mlp_in", 40), (2, "mlp_in", 40), (2, "attn_out", 16)])


def expert_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for subset in ("all", "a"):
        for concept in NAMES:
            for rank_ in range(6):
                layer, site, width = UNITS.sites[rank_ % 3]
                unit = int(rng.integers(width // 6)) * 6 + rank_
                rows.append((subset, concept, rank_, layer, site, unit, float(rank_), 6))
    columns = ["subset", "concept", "rank", "layer", "site", "unit", "forced_value", "k"]
    return pd.DataFrame(rows, columns=columns).assign(scope="model").sample(frac=1, random_state=0)


def forced_and_drawn(concept: str, *, lang: str = "es", k: int = 4, seed: int = 1):
    """The experts that are forced, and the numbers of as many random units."""
    table = expert_table()
    forced, whole = forced_experts(table, lang, concept, GenerationSettings(k=k)), of_model(table)
    every = whole[whole["concept"] == concept]
    return forced, draw_random(forced, every, UNITS, lang=lang, concept=concept, seed=seed)


def test_texts_and_their_controls():
    settings = GenerationSettings(k=4, samples=3, seeds=2)
    keys = [("es", "water"), ("es", "house"), ("ru", "water"), ("ru", "house")]
    experts = {key: UnitSet([1], ["mlp_in"], [at], [0.5]) for at, key in enumerate(keys)}
    random = {
        key: Held(UnitSet([1], ["mlp_in"], [at], [0.1]), UnitSet([1], ["mlp_in"], [at], [2.0]))
        for at, key in enumerate(keys, 10)
    }
    requests = text_requests(experts, random, settings=settings)
    count = pd.Series([job.condition for job in requests]).value_counts().to_dict()
    assert count == {"unforced": 12, "forced": 24, "random": 24, "random_dose": 24}
    names = [(j.condition, j.lang, j.concept, j.sample, j.seed) for j in requests]
    assert len(set(names)) == len(names)
    for asked in requests:
        key = asked.lang, asked.concept
        wanted = {"unforced": lambda: None, "forced": lambda key=key: experts[key],
                  "random": lambda key=key: random[key].at_medians,
                  "random_dose": lambda key=key: random[key].at_dose}  # fmt: skip
        assert asked.units is wanted[asked.condition]()


def test_random_units_stand_where_the_experts_stand_and_are_none():
    for concept in NAMES:
        forced, numbers = forced_and_drawn(concept)
        assert forced["rank"].tolist() == [0, 1, 2, 3]
        every = numbers_of(of_model(expert_table()).query("concept == @concept"), UNITS)
        assert np.array_equal(UNITS.split(numbers)[0], UNITS.split(numbers_of(forced, UNITS))[0])
        assert len(set(numbers.tolist())) == 4
        assert not set(numbers.tolist()) & set(every.tolist())
    assert forced_and_drawn("water")[1].tolist() != forced_and_drawn("water", lang="ru")[1].tolist()


def test_a_site_without_units_that_are_no_experts_is_named():
    table = expert_table()
    few = UnitIndex.of([(1, "mlp_in", 40), (2, "mlp_in", 40), (2, "attn_out", 16)])
    rows = [("water", rank_, 2, "attn_out", rank_) for rank_ in range(16)]
    whole = pd.DataFrame(rows, columns=["concept", "rank", "layer", "site", "unit"])
    table = whole.assign(subset="all", scope="model", forced_value=0.0, k=16)
    with pytest.raises(
        StudyError, match=r"experts.k`: got 16.*so few that 4 units of layer 2, site attn_out"
    ):
        draw_random(table.head(4), table, few, lang="es", concept="water", seed=1)


def sentences_of(n: int = 24) -> list[tuple[str, str]]:
    """Sentences of both concepts, in all lengths."""
    rng = np.random.default_rng(0)
    return [
        (f"{NAMES[i % 2]}-{i // 2:04d}", " ".join(rng.choice(WORDS, size=int(rng.integers(1, 18)))))
        for i in range(n)
    ]


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_medians_of_random_units_are_those_that_scoring_had(tmp_path, architecture, dtype, pooling):
    """Computed again for a few units, over the sentences that express the concept alone."""
    loaded, sentences = tiny_loaded(architecture), sentences_of()
    settings = ExtractionSettings(
        sites=("mlp_in", "attn_out"), poolings=(pooling,), dtype=dtype, batch_size=5, max_length=20,
        tokens_per_language=4, mean_sentences=2,
    )  # fmt: skip
    with (
        atomic_h5(tmp_path / "u.h5", kind="units") as units_h5,
        atomic_h5(tmp_path / "t.h5", kind="tokens") as tokens_h5,
    ):
        units = units_h5.create_group("3/es")
        extract_language(
            loaded, sentences, units=lambda *cell: write_units(units, *cell),
            tokens=tokens_h5.create_group("3/es"), model="m", step=3, lang="es", settings=settings, seed=0,
        )  # fmt: skip
    labels = pd.DataFrame(
        [(concept, name, int(name.startswith(concept))) for concept in NAMES for name, _ in sentences],
        columns=["concept", "sentence_id", "label"],
    )
    scores = score(tmp_path / "s.h5", labels, UnitFile(tmp_path / "u.h5", "3/es"))
    best = rank(tmp_path / "b.h5", {(3, "es"): scores}, kept=20)[3, "es"]
    experts, positive = select_experts(best, k=10), {}
    forced, drawn = {}, {}
    for concept in NAMES:
        positive[concept] = [(name, text) for name, text in sentences if name.startswith(concept)]
        forced[concept] = forced_experts(experts, "es", concept, GenerationSettings(k=8))
        every = of_model(experts).query("concept == @concept")
        drawn[concept] = draw_random(forced[concept], every, best.units, lang="es", concept=concept, seed=1)
    held = hold_random(loaded, forced, drawn, best.units, sentences, positive, settings, where="here")
    file = UnitFile(tmp_path / "u.h5", "3/es")
    near = {"rtol": 2e-3 if dtype == "float16" else 1e-4, "atol": 2e-3 if dtype == "float16" else 1e-5}
    for at, concept in enumerate(NAMES):
        assert len(held[concept].at_medians) == len(held[concept].at_dose) == 8
        numbers = numbers_of(forced[concept], best.units)
        partner = dict(zip(drawn[concept].tolist(), range(8), strict=True))
        for place, (indices, values) in held[concept].at_medians.cells.items():
            np.testing.assert_allclose(values, scores.read(*place, "median")[at][indices], **near)
            # The dose of a random unit is that of the expert whose place it takes, in its own scale.
            again, doses = held[concept].at_dose.cells[place]
            assert np.array_equal(again, indices)
            own = file.read(*place).astype(np.float64)
            for unit, dose in zip(indices.tolist(), doses, strict=True):
                there = [place[0]], [place[1]], [unit]
                expert = partner[int(best.units.numbers(*there)[0])]
                _, _, (index,) = best.units.places([numbers[expert]])
                value = forced[concept]["forced_value"].iloc[expert]
                z = (value - own[:, index].mean()) / own[:, index].std()
                wanted = own[:, unit].mean() + z * own[:, unit].std()
                assert dose == pytest.approx(wanted, rel=1e-2, abs=2e-2 if dtype == "float16" else 1e-4)


def test_random_units_at_the_dose_are_pushed_as_far_as_the_experts():
    """Planted: experts whose forced value is 2 standard deviations up; random units at their medians are not."""
    loaded, sentences = tiny_loaded("xglm"), sentences_of(60)
    settings = ExtractionSettings(sites=("mlp_in",), batch_size=7, max_length=20)
    units = UnitIndex.of((*place, n) for place, n in site_widths(loaded.config, ("mlp_in",)).items())
    ids = {"house": [name for name, _ in sentences if name.startswith("house")]}
    experts, random = np.arange(0, 12), np.arange(20, 32)
    measured = measure_units(loaded, {"house": random}, units, sentences, ids, settings, where="here")
    value = measured.mean_N[experts] + 2 * measured.sd_N[experts]
    places = dict(zip(("layer", "site", "unit"), units.places(experts), strict=True))
    forced = {"house": pd.DataFrame({**places, "forced_value": value})}
    positive = {"house": [pair for pair in sentences if pair[0] in ids["house"]]}
    held = hold_random(
        loaded, forced, {"house": random}, units, sentences, positive, settings, where="here"
    )["house"]  # fmt: skip

    def z_of(units_held):
        found = [
            z_scores(units.numbers([layer] * len(index), [site] * len(index), index), values, measured)
            for (layer, site), (index, values) in units_held.cells.items()
        ]
        return np.concatenate(found)

    assert np.allclose(z_of(held.at_dose), 2, atol=1e-4)
    assert abs(z_of(held.at_medians).mean()) < 0.5


def test_means_and_deviations_are_those_of_all_sentences():
    loaded, sentences = tiny_loaded("llama"), sentences_of(40)
    settings = ExtractionSettings(sites=("mlp_in", "attn_out"), max_length=20)
    places = site_widths(loaded.config, settings.sites)
    units = UnitIndex.of((*place, n) for place, n in places.items())
    found = {}
    for size in (3, 64):  # in batches, and at once
        sized = settings.model_copy(update={"batch_size": size})
        found[size] = measure_units(loaded, {}, units, sentences, {}, sized, where="here")
    assert np.allclose(found[3].mean_N, found[64].mean_N, atol=1e-5)
    assert np.allclose(found[3].sd_N, found[64].sd_N, atol=1e-5)
    assert z_scores(np.array([0]), [found[3].mean_N[0] - found[3].sd_N[0]], found[3]) == pytest.approx(-1)
    dead = found[3]._replace(sd_N=np.zeros(len(units)))
    assert z_scores(np.array([0]), [5.0], dead).tolist() == [0], "a constant unit has no dose"


def test_units_that_change_no_logit_are_refused(monkeypatch):
    """A hook that never runs looks like forcing without effect."""
    loaded = tiny_loaded("xglm")
    asked = [TextRequest("unforced", "*", "*", 0, 0, None),
             TextRequest("forced", "es", "house", 0, 0, some_units(loaded))]  # fmt: skip
    generate(loaded, asked, where="model m, step 3")
    monkeypatch.setattr("babelscope.analysis.generation.force_units", lambda *_: nullcontext())
    with pytest.raises(
        DataError, match=r"model m, step 3, house in es: holding \d+ units.*forced.*no logit"
    ) as e:
        generate(loaded, asked, where="model m, step 3")
    assert "hint: " in str(e.value)
    generate(loaded, asked[:1])


def test_queries_act_from_the_second_position_on():
    """With one position to attend to they change nothing, and that is no fault."""
    loaded = tiny_loaded("xglm")
    query = UnitSet([1], ["attn_qkv"], [0], [9.0])
    with torch.inference_mode(), force_units(loaded.model, [query]):
        held = loaded.model(input_ids=torch.tensor([[0]])).logits
    assert torch.equal(held, loaded.model(input_ids=torch.tensor([[0]])).logits)
    assert len(generate(loaded, [TextRequest("forced", "es", "house", 0, 0, query)])) == 1


def test_too_few_experts_and_unknown_concepts_are_named():
    with pytest.raises(StudyError, match=r"generation.concepts`: got 'dog'.*concepts with experts in es: "):
        forced_experts(expert_table(), "es", "dog", GenerationSettings(k=2))
    with pytest.raises(StudyError, match=r"generation.k`: got 7.*experts.kept, 6"):
        forced_experts(expert_table(), "es", "house", GenerationSettings(k=7))


def test_only_experts_at_the_named_sites_are_forced():
    table = expert_table()
    both = forced_experts(table, "es", "house", GenerationSettings(k=4, sites=("mlp_in", "attn_out")))
    assert (
        both["rank"].tolist()
        == forced_experts(table, "es", "house", GenerationSettings(k=4))["rank"].tolist()
    )
    # Ranks 2 and 5 are at attn_out; a larger k takes all that are there.
    for k, ranks in ((1, [2]), (4, [2, 5])):
        some = forced_experts(table, "es", "house", GenerationSettings(k=k, sites=("attn_out",)))
        assert set(some["site"]) == {"attn_out"}
        assert some["rank"].tolist() == ranks
    with pytest.raises(
        StudyError, match=r"generation.sites`: got \['resid'\].*house in es: attn_out, mlp_in"
    ):
        forced_experts(table, "es", "house", GenerationSettings(k=4, sites=("resid",)))


# --------------------------------------------------------------------------------- what they say

FORMS = {
    "house": {
        "en": ["house", "houses"],
        "es": ["casa"],
        "de": ["Haus"],
        "tr": ["ırmak"],
        "hi": ["घर"],
        "zh": ["房子", "房"],
    },
    "quake": {"en": ["earth quake"], "es": ["terremoto"], "fr": ["tremblement de terre"]},
    "hotel": {"en": ["hotel"], "es": ["hotel"], "de": ["Hotel"]},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The HOUSE, a house", {("house", "en"): 2}),
        ("household housework", {}),
        ("घर में", {("house", "hi"): 1}),
        ("घरेलू", {}),
        ("Irmak akar", {("house", "tr"): 1}),
        ("旧房子和房", {("house", "zh"): 2}),
        ("an Earth quake; earth, quake", {("quake", "en"): 1}),
        ("le tremblement de terre", {("quake", "fr"): 1}),
        ("el hotel", {("hotel", "en"): 1 / 3, ("hotel", "es"): 1 / 3, ("hotel", "de"): 1 / 3}),
        ("", {}),
    ],
)
def test_words_are_found(text, expected):
    found = count_hits([text], FORMS, {lang for forms in FORMS.values() for lang in forms})
    assert {(row.concept, row.lang): pytest.approx(row.hits) for row in found.itertuples()} == expected


CELL = ("m", 4)


def made_up_texts(forced_text: str = "casa", n: int = 20) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, languages = [], []
    for lang in ("es", "en"):
        for concept in ("house", "quake"):
            for i in range(n):
                text = forced_text if concept == "house" and i < n // 2 else "nada"
                rows.append(("forced", lang, concept, i, text, 2.0, False))
                languages.append("es")
    for i in range(2 * n):
        rows.append(("unforced", "*", "*", i, "house" if i < n // 2 else "", 1.0, i >= n // 2))
        languages.append("en" if i < n // 2 else "und")
    columns = ["condition", "lang", "concept", "sample", "text", "nll", "degenerate"]
    texts = pd.DataFrame(rows, columns=columns).assign(model="m", step=4, seed=0, prompt_ids="0", n_tokens=3)
    texts.loc[texts["text"] == "", "nll"] = np.nan
    detected = pd.DataFrame(
        {
            "row": range(len(rows)),
            "text_crc32": [zlib.crc32(t.encode()) for t in texts["text"]],
            "language": languages,
            "confidence": 0.9,
        }
    )
    return texts, detected


def summary_of(texts, detected, languages=("en", "es", "zh"), n_resamples=200):
    hits = count_hits(texts["text"], FORMS, languages)
    table = summarise_generation(
        texts, detected, hits, languages=list(languages), spelt=dict.fromkeys(FORMS, languages),
        n_resamples=n_resamples, seed=0,
    )  # fmt: skip
    return table.set_index(["condition", "lang", "target", "metric"])


def test_summary_of_known_texts():
    table = summary_of(*made_up_texts())
    value = table["value"]
    assert value["forced", "*", "*", "hit_rate"] == 0.25
    assert value["forced", "es", "*", "hit_rate"] == 0.25
    assert value["forced", "es", "es", "hit_share"] == 1
    assert value["forced", "es", "en", "hit_share"] == 0
    # Only texts from es: with the source en, source and pivot are the same.
    assert value["forced", "*", "source", "hit_share"] == 1
    assert value["forced", "*", "en", "text_share"] == 0
    # Of the texts forced to quake none has a word of house; of those forced to house none of quake.
    assert value["other_concept", "*", "*", "hit_rate"] == 0
    # 10 of 40 texts have a word of house, none of quake.
    assert value["unforced", "*", "*", "hit_rate"] == 0.125
    assert value["unforced", "*", "en", "hit_share"] == 1
    assert value["unforced", "*", "en", "text_share"] == 0.25
    assert value["unforced", "*", "source", "text_share"] == 0
    assert value["unforced", "*", "*", "degenerate"] == 0.75
    assert value["unforced", "*", "*", "nll"] == 1
    assert table["n"]["unforced", "*", "*", "nll"] == 10
    assert table["n"]["forced", "*", "source", "hit_share"] == 10
    known = table[table["value"].notna()]
    assert (known["low"] <= known["value"] + 1e-12).all()
    assert (known["high"] >= known["value"] - 1e-12).all()
    assert (table["n"][table["value"].isna()] == 0).all(), "shares of no hits"
    # Two concepts, one with hits: the interval must know that concepts differ.
    assert table["low"]["forced", "es", "*", "hit_rate"] == 0
    assert table["high"]["forced", "es", "*", "hit_rate"] > 0.45
    assert not table.index.duplicated().any()


def made_up_study(seed: int, n_langs: int, spread: float, n_concepts: int = 16, n: int = 20):
    """Texts of a study whose languages, concepts and cells differ in how often they are in their source."""
    rng = np.random.default_rng([seed, n_langs])
    logit_LC = rng.normal(-1, spread, (n_langs, 1)) + rng.normal(0, spread / 2, n_concepts)
    inside_LCT = rng.random((n_langs, n_concepts, n)) < 1 / (1 + np.exp(-logit_LC[:, :, None]))
    lang, concept, _ = (index.ravel() for index in np.indices(inside_LCT.shape))
    return pd.DataFrame({"lang": lang, "concept": concept}), inside_LCT.ravel().astype(float)


@pytest.mark.parametrize("n_langs", [3, 4, 8])
@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_intervals_cover_what_holds_for_other_languages_too(n_langs, spread):
    """Over languages, of which a study has few: texts alone as clusters cover 40 to 85 percent."""
    logits = -1 + np.random.default_rng(0).normal(size=200_000) * spread * np.sqrt(1.25)
    truth, covered, n_studies = float(np.mean(1 / (1 + np.exp(-logits)))), 0, 120
    for seed in range(n_studies):
        texts, inside = made_up_study(seed, n_langs, spread)
        boot = _Bootstrap(texts, 200, seed)
        everything = np.ones(len(texts))
        ((value, low, high),) = boot.ratios("text_share", inside[:, None], everything, everything > 0)
        assert value == inside.mean()
        covered += low <= truth <= high
    assert covered >= 0.9 * n_studies  # of 300 studies: 94 to 98 percent


@pytest.mark.parametrize(("n_runs", "spread"), [(2, 0.2), (3, 0.2), (3, 0.6)])
def test_intervals_cover_other_runs_too(n_runs, spread):
    """Shares of texts where runs, languages and concepts all differ."""
    rng, covered, n_studies = np.random.default_rng(n_runs), 0, 100
    logits = -1 + np.random.default_rng(0).normal(size=200_000) * np.sqrt(0.5**2 * 1.25 + spread**2)
    truth = float(np.mean(1 / (1 + np.exp(-logits))))
    lang, concept, _ = (index.ravel() for index in np.indices((4, 16, 20)))
    boot = _Bootstrap(pd.DataFrame({"lang": lang, "concept": concept}), 200, 0)
    every = np.ones(len(lang))
    for _ in range(n_studies):
        level_LC = -1 + rng.normal(0, 0.5, size=(4, 1)) + rng.normal(0, 0.25, size=16)
        runs = []
        for _ in range(n_runs):
            share_LC = 1 / (1 + np.exp(-level_LC - rng.normal(0, spread)))
            inside = (rng.random((4, 16, 20)) < share_LC[:, :, None]).ravel().astype(float)
            runs += boot.ratios("text_share", inside[:, None], every, every > 0)
        value_R, low_R, high_R = np.array(runs).T
        parts = value_R.mean(), low_R.mean(), high_R.mean(), value_R.std(ddof=1)
        low, high = interval_over_runs(*parts, n_runs)
        covered += low <= truth <= high
    assert covered / n_studies >= 0.93


def test_models_are_compared_with_controls_draw_by_draw(tmp_path):
    """Two runs that wrote the same do not differ, whatever the languages; another one does, and says by how much."""
    words = tmp_path / "words.json"
    words.write_text(json.dumps(FORMS), encoding="utf-8")
    texts, detected = made_up_texts()
    own = {("m", 4): texts, ("same", 4): texts.assign(model="same"), ("less", 4): texts.assign(model="less")}
    found = dict.fromkeys(own, detected)
    turned = texts["condition"].eq("forced") & (texts.index % 2 == 0)
    own["less", 4] = own["less", 4].assign(text=texts["text"].mask(turned, "nada"))
    found["less", 4] = detected.assign(text_crc32=[zlib.crc32(t.encode()) for t in own["less", 4]["text"]])
    summary, contrasts, _ = collect_generation(
        own, found, words=words, languages=["en", "es"], n_resamples=50, seed=0,
        against=[("m", "same"), ("m", "less"), ("m", "nobody")],
    )  # fmt: skip
    assert set(contrasts["control"]) == {"same", "less"}
    same = contrasts[contrasts["control"] == "same"]
    assert (same[["difference", "low", "high"]].dropna() == 0).all(axis=None)
    rate = summary[(summary["metric"] == "hit_rate") & (summary["lang"] == "*")]
    rate = rate[rate["condition"] == "forced"].set_index("model")["value"]
    less = contrasts[(contrasts["control"] == "less") & (contrasts["metric"] == "hit_rate")].iloc[0]
    assert less["difference"] == pytest.approx(rate["m"] - rate["less"])
    assert less["difference"] > 0
    assert less["low"] <= less["difference"] <= less["high"]


def test_gains_are_paired_by_language_and_concept():
    """Concepts differ far more than conditions do: the rates overlap, and the gain is sure."""
    rows = []
    for condition, gain in (("forced", 4), ("random_dose", 0)):
        for lang in ("es", "de", "ru", "zh"):
            for at, concept in enumerate(("house", "quake", "hotel")):
                word = {"house": "casa", "quake": "terremoto", "hotel": "hotel"}[concept]
                rows += [
                    (condition, lang, concept, word if i < 10 * at + gain else "nada") for i in range(40)
                ]
    texts = pd.DataFrame(rows, columns=["condition", "lang", "concept", "text"])
    texts = texts.assign(model="m", step=4, nll=1.0, degenerate=False)
    detected = pd.DataFrame({"text_crc32": [zlib.crc32(t.encode()) for t in texts["text"]], "language": "es"})
    table = summary_of(texts, detected)
    forced, other = (table.loc[(name, "*", "*", "hit_rate")] for name in ("forced", "random_dose"))
    gain = table.loc[("random_dose", "*", "*", "hit_gain")]
    assert forced.low < other.high, "the rates by themselves do not separate"
    assert gain.value == pytest.approx(0.1)
    assert gain.low > 0.09
    assert ("forced", "*", "*", "hit_gain") not in table.index


def test_words_of_other_concepts_are_a_control():
    table = summary_of(*made_up_texts(forced_text="terremoto"))
    assert table["value"]["forced", "*", "*", "hit_rate"] == 0
    # Of the four (source, concept) cells the two of house have one other concept in half the texts.
    assert table["value"]["other_concept", "*", "*", "hit_rate"] == 0.25


def test_intervals_shrink_with_the_texts():
    def width(n):
        table = summary_of(*made_up_texts(n=n))
        return (table["high"] - table["low"])["unforced", "*", "en", "text_share"]

    assert width(200) < 0.6 * width(20)


def test_collecting_checks_that_languages_belong_to_texts(tmp_path):
    texts, detected = made_up_texts()
    keyed = {CELL: texts}, {CELL: detected}
    words = tmp_path / "words.json"
    words.write_text(json.dumps(FORMS), encoding="utf-8")
    arguments = {"words": words, "languages": ["en", "es"], "n_resamples": 20, "seed": 0}
    summary, _, sample = collect_generation(*keyed, **arguments)
    again, *_ = collect_generation(*keyed, **arguments)
    pd.testing.assert_frame_equal(summary, again)
    assert set(sample["condition"]) == {"forced", "unforced"}
    assert sample.query("condition == 'forced' and concept == 'house'")["n_hits"].eq(1).all()
    assert len(sample) == 4 + 8
    shuffled = detected.iloc[::-1].reset_index(drop=True)
    with pytest.raises(DataError, match="row 0 belongs to another text"):
        collect_generation({CELL: texts}, {CELL: shuffled}, **arguments)
    with pytest.raises(DataError, match="has 5 rows for 120 texts"):
        collect_generation({CELL: texts}, {CELL: detected.head(5)}, **arguments)
    with pytest.raises(DataError, match="are not there for m, step 4"):
        collect_generation({CELL: texts}, {("m", 8): detected}, **arguments)
    with pytest.raises(DataError, match="cannot be read"):
        collect_generation(*keyed, **{**arguments, "words": tmp_path / "none"})


def test_without_words_there_are_no_hits(tmp_path):
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"house": {}, "quake": {}}), encoding="utf-8")
    keyed = ({CELL: table} for table in made_up_texts())
    summary, *_ = collect_generation(*keyed, words=words, languages=["en", "es"], n_resamples=20, seed=0)
    assert set(summary["metric"]) == {"text_share", "nll", "degenerate"}


def test_words_that_are_not_known_are_not_missed(tmp_path):
    """Texts that say it in Spanish, of which no word is known, are not counted as texts without a word."""
    words = tmp_path / "words.json"
    for known in ({"en": ["house"]}, {"es": ["casa"]}):  # late texts would be in English
        words.write_text(json.dumps({"house": known, "quake": {"en": ["quake"], "es": ["terremoto"]}}))
        keyed = ({CELL: table} for table in made_up_texts())
        summary, *_ = collect_generation(*keyed, words=words, languages=["en", "es"], n_resamples=20, seed=0)
        rates = summary[(summary["metric"] == "hit_rate") & (summary["lang"] == "es")].set_index("condition")
        assert rates.loc["forced", ["value", "n"]].tolist() == [0, 20]  # those of quake alone
    words.write_text(json.dumps({"house": {"en": ["house"]}, "quake": {"en": ["quake"]}}))
    keyed = ({CELL: table} for table in made_up_texts())
    summary, *_ = collect_generation(*keyed, words=words, languages=["en", "es"], n_resamples=20, seed=0)
    shares = summary[summary["metric"] == "hit_share"]
    assert not (shares["target"].isin(["source", "es"])).any() or shares["value"].isna().all()
    rates = summary[(summary["metric"] == "hit_rate") & (summary["lang"] == "es")]
    assert rates["value"].isna().all()


def test_languages_that_are_not_told_apart_have_no_share():
    texts, detected = made_up_texts()
    renamed = detected.replace({"language": {"es": "es or es-MX"}})
    table = summary_of(texts, renamed, languages=("en", "es", "es-MX", "ig", "zh")).reset_index()
    shares = table[table["metric"] == "text_share"]
    assert set(shares["target"]) == {"en", "zh"}


def test_a_step_from_experts_to_summary(tmp_path):
    loaded = tiny_loaded("xglm")
    settings = GenerationSettings(k=4, samples=2, max_new_tokens=6, batch_size=8)
    positive = {concept: [pair for pair in SENTENCES if pair[0].startswith(concept)] for concept in NAMES}
    texts = generate_step(
        loaded, {"es": expert_table()}, {"es": expert_table()}, {"es": SENTENCES}, {"es": positive},
        model="m", step=7, concepts=["house", "water"],
        settings=settings, extraction=ExtractionSettings(sites=("mlp_in", "attn_out")), seed=3,
    )  # fmt: skip
    assert len(texts) == 4 + 4 + 4 + 4
    assert list(texts.columns[:4]) == ["model", "step", "condition", "lang"]
    assert texts.groupby("condition")["n_forced"].unique().str[0].to_dict() == {
        "unforced": 0, "forced": 4, "random": 4, "random_dose": 4
    }  # fmt: skip
    texts.to_parquet(tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet")["text"].tolist() == texts["text"].tolist()
