"""Made-up tables in the shape of a finished study, for tests of figures, findings and report.

The values follow curves that are chosen by hand; nothing here comes from a model.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

LANGUAGES = ("de", "en", "es", "fr", "hi", "ru", "tr", "zh")
STEPS = (0, 64, 128, 256, 512, 1024, 2048)
CONCEPTS = ("house", "water", "music", "dog", "ship", "bread")
LAYERS = (0, 1, 2, 3, 4)
CHANCE = 46 / 2304
MEASURES = ("competence", "agreement", "sharing")


def synthetic_tables(
    *,
    seeds: int = 1,
    steps: tuple[int, ...] = STEPS,
    sharing: bool = True,
    control: bool = True,
    generation: bool = True,
    languages: tuple[str, ...] = LANGUAGES,
    flagged: tuple[int, ...] = (),
) -> dict[str, pd.DataFrame]:
    """All collected tables of a study.

    Args:
        seeds: Pre-training seeds of each model.
        steps: Steps of each model.
        sharing: Whether the overlap of the main model grows.
        control: Whether there is a control model.
        generation: Whether there are generated texts.
        languages: Languages.
        flagged: Steps of the main model that the audit flags.
    """
    rng = np.random.default_rng(0)
    models = _models(seeds, control)
    tables = {
        "models": models,
        "overlap": _overlap(models, steps, sharing, languages, rng),
        "pairs": _pairs(languages),
        "transfer": _transfer(models, steps, sharing, languages, rng),
        "reliability": _reliability(models, steps, sharing, languages, rng),
        "lifelines": _lifelines(models, steps, sharing, languages, rng),
        "lifespans": _lifespans(models, languages),
        "probes": _probes(models, steps, sharing, languages, rng),
        "losses": _losses(models, steps, languages, rng),
        "audit": _audit(models, steps, flagged),
        "audit_losses": _audit_losses(models, steps, languages, flagged),
        "steps": _steps(models, steps),
        "concepts": pd.DataFrame(
            [
                {"lang": lang, "concept": c, "n_positive": 40, "n_negative": 200,
                 "n_positive_a": 20, "n_positive_b": 20 - 11 * (c == "bread")}
                for lang in languages
                for c in CONCEPTS
            ]
        ),
        "concept_words": pd.DataFrame(
            {"concept": CONCEPTS, "word": CONCEPTS,
             "n_sentences": [40 * (c != "bread") for c in CONCEPTS]}
        ),
        "concept_pairs": pd.DataFrame(
            {"concept_a": ["house"], "concept_b": ["water"], "n_shared": [7], "share": [0.175],
             "words": ["shared-word"]}
        ),
    }  # fmt: skip
    tables["purity"] = pd.DataFrame(
        [(lang, 240, 240, 236, 2, 2, 2 / 240, "en 2") for lang in languages],
        columns=["lang", "n_sentences", "n_tested", "n_own", "n_foreign", "n_undecided", "foreign_share", "strangers"],
    )  # fmt: skip
    tables["choices"] = _choices(models, steps, sharing, rng)
    tables["choice_conclusions"] = _conclusions(tables["choices"], models)
    tables["overlap_changes"] = _overlap_changes(tables["overlap"])
    tables["overlap_contrasts"] = _overlap_contrasts(tables["overlap"], models)
    tables |= _onsets(models, steps)
    tables["left_out"] = _left_out(models, steps, sharing, languages)
    tables["representations"] = _representations(models, steps, sharing)
    tables |= _confounds(models, steps, sharing)
    tables |= _language_units(models, steps)
    tables["ablation"] = _ablation(models, steps, sharing, languages)
    tables["patching"] = _patching(models, steps, sharing, languages)
    if generation:
        tables["generation"] = _generation(models, steps, languages, rng)
        tables["generation_contrasts"] = _generation_contrasts(tables["generation"], models)
        tables["texts"] = _texts(models, steps, languages)
    return tables


def _models(seeds: int, control: bool) -> pd.DataFrame:
    rows = []
    for name, role in [("bridged", "main"), ("isolated", "control")][: 1 + control]:
        for seed in range(seeds):
            rows.append(
                {"model": f"{name}-seed{seed}", "id": name, "role": role, "seed": seed, "dose": 0.4 if role == "main" else 0.0,
                 "source": "pretrain", "architecture": "xglm", "n_parameters": 331_456,
                 "n_layers": 4, "n_units": 2304, "tokens_per_step": 1536}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _growth(step: int, role: str, sharing: bool) -> float:
    if role == "control" or not sharing:
        return 0.0
    return float(0.24 / (1 + np.exp(-(np.log2(max(step, 1)) - 9.3) * 1.4)))


def _overlap(models, steps, sharing, languages, rng):
    rows = []
    for m, step in itertools.product(models.itertuples(), steps):
        for layer in (-1, *LAYERS[1:]):
            null = 0.045 + 0.002 * rng.normal()
            base = null + 0.004 + _growth(step, m.role, sharing) * (1 if layer < 0 else 0.6 + layer / 6)
            ceiling = 0.62 + 0.03 * np.log2(step + 1) / 11
            k = 46 if layer < 0 else 12
            for variant, extra in (("disjoint_lines", 0.0), ("same_lines", 0.02)):

                def row(
                    a,
                    b,
                    value,
                    half,
                    p,
                    variant=variant,
                    ceiling=ceiling,
                    null=null,
                    layer=layer,
                    k=k,
                    m=m,
                    step=step,
                ):
                    has_ceiling = variant == "disjoint_lines" and (a == "*" or a != b)
                    room = ceiling - null if has_ceiling else np.nan
                    way = (value - null) / room
                    return {
                        "model": m.model, "step": step, "scope": "model" if layer < 0 else "layer",
                        "site": "*", "null_near": null + 0.01, "p_near": p, "ceiling": null + room,
                        "way": way, "way_low": way - half / room, "way_high": way + half / room,
                        "ceiling_words": null + 0.8 * room, "way_words": way / 0.8,
                        "way_words_low": (way - half / room) / 0.8, "way_words_high": (way + half / room) / 0.8,
                        "n_concepts_words": len(CONCEPTS), "n_pairs": 1 if a != "*" else 10,
                        "layer": layer, "variant": variant, "lang_a": a, "lang_b": b,
                        "overlap": value, "low": value - half, "high": value + half, "null": null,
                        "chance": CHANCE, "calibrated": (value - null) / (1 - null), "p_value": p,
                        "q_value": min(1.0, p * 1.5), "n_concepts": len(CONCEPTS), "k": k,
                        "n_units": 2304 if layer < 0 else 576, "n_null": 500, "null_high": null + 0.003,
                        "detectable": 1.4 * half, "tied": 0.0, "lacking": 0.0,
                    }  # fmt: skip

                p = 0.002 if base > null + 0.02 else 0.3
                for a, b in itertools.combinations(languages, 2):
                    rows.append(row(a, b, base + extra + 0.01 * rng.normal(), 0.04, p))
                rows.append(row("*", "*", base + extra, 0.012, p))
                if layer < 0 and variant == "disjoint_lines":
                    for site, less in (("attn_out", 0.0), ("mlp_out", 0.02)):
                        of_site = row("*", "*", base - less, 0.012, p)
                        rows.append({**of_site, "scope": "site", "site": site})
                if variant == "disjoint_lines":
                    for a in languages:
                        rows.append(row(a, a, ceiling + 0.02 * rng.normal(), 0.04, 0.002))
                    rows.append(row("=", "=", ceiling, 0.02, 0.002))
    return pd.DataFrame(rows)


def _pairs(languages):
    return pd.DataFrame(
        [
            {"lang_a": a, "lang_b": b, "script_a": "LATIN", "script_b": "LATIN",
             "same_script": not {a, b} & {"zh", "ru", "hi"}, "shared_words": 0.0}
            for a, b in itertools.combinations(languages, 2)
        ]
    )  # fmt: skip


def _choices(models, steps, sharing, rng):
    """Two poolings, at two sites and both, three sizes; the pooling ``max`` shares a fourth of the other."""
    rows = []
    for m, step in itertools.product(models.itertuples(), steps):
        about = {"model": m.model, "step": step, "probe": "", "n_concepts": len(CONCEPTS)}
        for pooling, site in itertools.product(("max", "last"), ("*", "attn_out", "mlp_out")):
            for size, k in (("half", 23), ("study", 46), ("double", 92)):
                null, ceiling = k / 2304 + 0.02, 0.7
                grown = _growth(step, m.role, sharing) * (0.25 if pooling == "max" else 1)
                value = null + 0.002 * rng.random() + grown
                way, half = (value - null) / (ceiling - null), 0.01 / (ceiling - null)
                known = step > 0 or size != "half"
                rows.append(
                    {**about, "measure": "overlap", "pooling": pooling, "site": site, "size": size,
                     "value": value, "low": value - 0.01, "high": value + 0.01, "null": null,
                     "null_high": null + 0.003, "chance": k / 2304, "ceiling": ceiling, "way": way,
                     "way_low": way - half if known else np.nan, "way_high": way + half if known else np.nan,
                     "p_value": 0.005 if grown > 0.02 else 0.4, "k": k, "n_units": 2304, "n_pairs": 10,
                     "n_null": 200}
                )  # fmt: skip
            ap = 0.2 + 0.1 * grown
            rows.append(
                {**about, "measure": "worst_ap", "pooling": pooling, "site": site, "size": "study",
                 "value": ap, "low": ap - 0.01, "high": ap + 0.01, "null": 0.19, "chance": 0.18,
                 "n_units": 2304, "n_null": 5}
            )  # fmt: skip
        for probe in ("full", "pc8"):
            rows.append(
                {**about, "measure": "probe", "pooling": "", "site": "", "size": "", "probe": probe,
                 "value": 0.7, "low": 0.68, "high": 0.72, "null": 0.125}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _conclusions(choices, models):
    """Of each choice: is it above its null at the last step."""
    rows = choices[choices["step"] == choices["step"].max()]
    value = rows["value"] - rows["null"]
    columns = ["model", "measure", "pooling", "site", "size", "probe"]
    found = rows[columns].assign(
        control="", asks="above null", first=rows["step"], last=rows["step"], value=value,
        low=value - 0.01, high=value + 0.01,
    )  # fmt: skip
    return found.assign(holds=found["low"] > 0)


def _overlap_changes(overlap):
    """Since the first step, of the mean over pairs in the model; steps are paired, so intervals are narrow."""
    rows = overlap[(overlap["scope"] == "model") & (overlap["lang_a"] == "*")]
    excess = rows.assign(change=rows["overlap"] - rows["null"])
    first = excess[excess["step"] == excess["step"].min()][["model", "variant", "step", "change"]]
    both = excess.merge(first, on=["model", "variant"], suffixes=("", "_since"))
    both = both[both["step"] > both["step_since"]]
    change = both["change"] - both["change_since"]
    columns = ["model", "step", "scope", "layer", "variant", "n_concepts"]
    return both[columns].assign(
        since=both["step_since"],
        measure="excess",
        change=change,
        low=change - 0.01,
        high=change + 0.01,
        detectable=0.014,
    )


def _against(models):
    """Run of the main model and of the control, seed by seed."""
    names = [list(models.loc[models["role"] == role, "model"]) for role in ("main", "control")]
    return list(zip(*names, strict=bool(names[1])))


def _differences(table, models, on):
    """Values of each run less those of the control's run of its seed."""
    parts = [
        table[table["model"] == name].merge(
            table[table["model"] == control], on=on, suffixes=("", "_control")
        )
        for name, control in _against(models)
    ]
    both = pd.concat(parts) if parts else table.merge(table, on=on, suffixes=("", "_control")).head(0)
    difference = both["value"] - both["value_control"]
    both = both.assign(difference=difference, low=difference - 0.01, high=difference + 0.01)
    return both.rename(columns={"model_control": "control"})[
        ["model", "control", *on, "difference", "low", "high"]
    ]


def _overlap_contrasts(overlap, models):
    rows = overlap[(overlap["lang_a"] == "*") & (overlap["scope"] != "site")]
    excess = rows["overlap"] - rows["null"]
    measures = {"overlap": rows["overlap"], "excess": excess, "way": rows["way"]}
    on = ["step", "scope", "layer", "variant", "measure"]
    long = pd.concat([rows.assign(measure=name, value=value) for name, value in measures.items()])
    found = _differences(long[["model", "value", *on]], models, on)
    return found.assign(n_concepts=len(CONCEPTS))


def _generation_contrasts(generation, models):
    on = ["step", "target", "metric"]
    rows = generation[(generation["lang"] == "*") & (generation["condition"] == "forced")]
    return _differences(rows[["model", "value", *on]], models, on)


def _transfer(models, steps, sharing, languages, rng):
    rows = []
    for m, step in itertools.product(models.itertuples(), steps):
        own = 0.2 + 0.25 * min(step, 512) / 512
        moved = 0.19 + 0.8 * _growth(step, m.role, sharing)
        for source, target in itertools.product(languages, languages):
            for concept in CONCEPTS:
                value = (own if source == target else moved) + 0.02 * rng.normal()
                rows.append(
                    {"model": m.model, "step": step, "source": source, "target": target,
                     "concept": concept, "ap": value, "ap_other_concepts": 0.17, "low": np.nan,
                     "high": np.nan, "positive_rate": 1 / 6, "chance_ap": 0.18, "length_ap": 0.2, "k": 46, "n": 1}
                )  # fmt: skip
        for source, value in (("*", moved), ("=", own)):
            rows.append(
                {"model": m.model, "step": step, "source": source, "target": source, "concept": "*",
                 "ap": value, "low": value - 0.01, "high": value + 0.01, "ap_other_concepts": 0.17,
                 "positive_rate": 1 / 6, "chance_ap": 0.18, "length_ap": 0.2, "k": 46, "n": len(CONCEPTS)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _reliability(models, steps, sharing, languages, rng):
    rows = []
    for m, step in itertools.product(models.itertuples(), steps):

        def row(kind, metric, value, null, model=m.model, step=step, **more):
            plain = {"concept": "*", "m": len(languages), "low": np.nan, "high": np.nan, "layer": -1,
                     "site": "", "unit": -1, "n_null": 20}  # fmt: skip
            return {"model": model, "step": step, "kind": kind, "metric": metric, "value": value,
                    "null": null, "chance_ap": np.nan if kind == "shared_units" else null, **plain, **more}  # fmt: skip

        level = 0.2 + 1.5 * _growth(step, m.role, sharing)
        worst = {concept: level + 0.02 * (i % 3 - 1) for i, concept in enumerate(CONCEPTS)}
        for metric, extra in (("worst_ap", 0.0), ("mean_ap", 0.15)):
            place = {"layer": 3, "site": "mlp_in", "unit": 17}
            rows += [
                row("best_unit", metric, value + extra, 0.2 + extra, concept=concept, **place)
                for concept, value in worst.items()
            ]
            mean = float(np.mean(list(worst.values()))) + extra
            rows.append(row("best_unit", metric, mean, 0.2 + extra, low=mean - 0.01, high=mean + 0.01))
        for among in range(2, len(languages) + 1):
            count = 200 * np.exp(-(among - 1) * (2.5 - 8 * _growth(step, m.role, sharing)))
            rows.append(row("shared_units", "n_units", float(np.floor(count)), 0.0, m=among))
    return pd.DataFrame(rows)


def _lifelines(models, steps, sharing, languages, rng):
    rows = []
    for m in models.itertuples():
        n_units = 30 if m.role == "main" and sharing else 4
        for unit in range(n_units):
            start = rng.uniform(6, 11)
            order = rng.permutation(len(languages))
            for step, (rank, lang) in itertools.product(steps, enumerate(languages)):
                strength = 1 / (1 + np.exp(-(np.log2(max(step, 1)) - start - 0.4 * order[rank]) * 2))
                ap = 0.15 + 0.5 * strength
                kept = ap > 0.2  # what is worse is not among the best units, and only known to be so
                rows.append(
                    {"model": m.model, "concept": CONCEPTS[unit % len(CONCEPTS)],
                     "layer": 1 + unit % 4, "site": "mlp_in", "unit": unit * 7, "step": step,
                     "lang": lang, "is_expert": bool(strength > 0.55),
                     "ap": ap if kept else np.nan, "ap_below": np.nan if kept else 0.2,
                     "n_total": n_units}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _lifespans(models, languages):
    """Half of the spells over after 512 steps in the main model; in a control too few have ended."""
    return pd.DataFrame(
        [
            {"model": m.model, "m": among, "n": 90 // among, "null": 3.0, "censored": 0.25 if m.role == "main" else 0.9,
             "quartile_1": 64.0, "median": 512.0 if m.role == "main" else np.nan, "quartile_3": np.nan,
             "n_null": 20}
            for m in models.itertuples()
            for among in range(2, len(languages) + 1)
        ]
    )  # fmt: skip


def _probes(models, steps, sharing, languages, rng):
    rows, chance = [], 1 / len(languages)
    for m, step, layer in itertools.product(models.itertuples(), steps, LAYERS):
        learnt = min(1.0, np.log2(step + 1) / 8)
        late = max(0.0, np.log2(step + 1) - 8) / 3 * (sharing and m.role == "main")
        dip = late * (0.15 if layer in (1, 2) else 0.02)
        full = 0.35 + 0.62 * learnt - dip
        pc = 0.15 + 0.6 * learnt - 2 * dip
        values = {
            ("full", "accuracy"): (full, chance), ("full", "macro_f1"): (full - 0.01, chance),
            ("pc8", "accuracy"): (pc, chance), ("pc8", "macro_f1"): (pc - 0.01, chance),
            ("control", "accuracy"): (0.4, chance), ("control", "selectivity"): (full - 0.4, 0.0),
            ("shuffled", "accuracy"): (chance + 0.01 * rng.normal(), chance),
            ("new_types", "accuracy"): (full - 0.15, chance),
            ("full", "train_accuracy"): (full + 0.02, chance),
            ("anchors", "accuracy"): (full - 0.1 if layer else 0.16, 0.16),
            ("between_variance", "share"): (0.1 * learnt - dip / 4, 0.0),
        }  # fmt: skip
        # Sentences are drawn alike in all cells, so that differences vary less than values.
        shared = np.random.default_rng(1).normal(size=100) * 0.01
        for (probe, metric), (value, null) in values.items():
            for seed in (-1, 0, 1, 2):
                if probe == "between_variance" and seed >= 0:
                    continue
                drawn = value + shared + 0.002 * rng.normal(size=100)
                rows.append(
                    {"model": m.model, "step": step, "layer": layer, "probe": probe,
                     "metric": metric, "seed": seed, "value": value + 0.005 * max(seed, 0),
                     "low": value - 0.02, "high": value + 0.02, "null": null, "c": 0.1, "n_train": 3360,
                     "n_test": 1440, "n_languages": len(languages),
                     "draws": " ".join(f"{draw:.5g}" for draw in drawn) if seed == -1 else ""}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _generation(models, steps, languages, rng):
    rows = []
    sources = [lang for lang in ("es", "de", "ru", "zh") if lang in languages]
    for m, step in itertools.product(models.itertuples(), [s for s in steps if s >= 256]):
        late = np.log2(step) - 8
        conditions = {"unforced": (0.06, 0.12), "forced": (0.07 + 0.04 * late, 0.42 - 0.1 * late),
                      "random": (0.06, 0.12), "random_dose": (0.06, 0.12),
                      "other_concept": (0.06, 0.25)}  # fmt: skip
        for condition, (hits, source_share) in conditions.items():
            for lang in [*sources, "*"]:

                def row(
                    target,
                    metric,
                    value,
                    half,
                    n=480,
                    lang=lang,
                    condition=condition,
                    m=m,
                    step=step,
                ):
                    return {
                        "model": m.model, "step": step, "condition": condition, "lang": lang,
                        "target": target, "metric": metric, "value": value, "low": value - half,
                        "high": value + half, "n": n,
                    }  # fmt: skip

                rows.append(row("*", "hit_rate", hits + 0.002 * rng.normal(), 0.01))
                if lang == "*" and condition != "forced":
                    gain = conditions["forced"][0] - hits
                    rows.append(row("*", "hit_gain", gain, 0.01))
                rows.append(row("*", "nll", 1.4 + 0.2 * (condition != "unforced"), 0.02))
                rows.append(row("*", "degenerate", 0.02, 0.01))
                rest = (1 - source_share - 0.3) / max(len(languages) - 2, 1)
                for target in languages:
                    if lang == "*":
                        break
                    share = source_share if target == lang else 0.3 if target == "en" else rest
                    rows.append(row(target, "hit_share", share, 0.05, n=60))
                    rows.append(row(target, "text_share", share, 0.03))
                if lang == "*":
                    rows.append(row("source", "hit_share", source_share, 0.05, n=240))
                    rows.append(row("en", "hit_share", 0.3, 0.05, n=240))
                    rows.append(row("source", "text_share", source_share, 0.03, n=1920))
                    rows.append(row("en", "text_share", 0.3, 0.03, n=1920))
    return pd.DataFrame(rows)


def _texts(models, steps, languages):
    samples = {
        "de": "das Haus steht am Fluss", "en": "the house stands by the river",
        "es": "la casa está junto al río", "hi": "घर नदी के पास है", "zh": "房子在河边",
        "ar": "البيت بجانب النهر", "ru": "дом стоит у реки",
    }  # fmt: skip
    rows = []
    for m, step, lang in itertools.product(models.itertuples(), steps[-2:], ("es", "zh")):
        for i, (detected, text) in enumerate(samples.items()):
            rows.append(
                {"model": m.model, "step": step, "condition": ("forced", "unforced")[i % 2],
                 "lang": lang, "concept": "house", "seed": 0, "sample": i, "text": text,
                 "prompt_ids": "0", "language": detected, "confidence": 0.9, "degenerate": False,
                 "n_hits": i % 2}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _losses(models, steps, languages, rng):
    return pd.DataFrame(
        [
            {"model": m.model, "step": step, "lang": lang, "split": "heldout",
             "loss": 1.0 + 0.05 * i + 6 * np.exp(-step / 90) + 0.01 * rng.normal(),
             "n_tokens": 5000}
            for m in models.itertuples()
            for step in steps
            for i, lang in enumerate(languages)
        ]
    )  # fmt: skip


def _audit(models, steps, flagged):
    rows = []
    for m, (i, step) in itertools.product(models.itertuples(), enumerate(steps)):
        bad = step in flagged and m.role == "main"
        rows.append(
            {"model": m.model, "step": step, "flag": bad, "kinds": "loss" if bad else "",
             "reasons": f"its loss is out of line: 9.00 nats per token at step {step}" if bad else "",
             "known_fault": "said to be broken (https://example.org/discussion)" if bad else "",
             "mean_loss": 9.0 if bad else 7 - i / 2,
             "distance_to_previous": np.nan if i == 0 else 0.3, "distance_se": np.nan if i == 0 else 0.01,
             "previous_step": pd.NA if i == 0 else steps[i - 1], "n_weights": 331_456,
             "n_nonfinite": 0, "digest": f"d{step:063x}", "weights_hash": f"e{step + 1:063x}",
             "tokenizer_hash": "f" * 64, "constant": "",
             "repo": "", "revision": "", "commit": "", "no_loss": ""}
        )  # fmt: skip
    return pd.DataFrame(rows).astype({"previous_step": "Int64"})


def _audit_losses(models, steps, languages, flagged):
    rows = []
    for m, (i, step), (j, lang) in itertools.product(
        models.itertuples(), enumerate(steps), enumerate(languages)
    ):
        loss = 9.0 if step in flagged and m.role == "main" else 7 - i / 2 + j / 10
        rows.append(
            {"model": m.model, "step": step, "lang": lang, "loss": loss, "loss_se": 0.05,
             "bits_per_byte": loss / 3, "n_sentences": 200, "n_tokens": 4000}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _steps(models, steps):
    rows = [(m.model, step, m.tokens_per_step * step) for m in models.itertuples() for step in steps]
    return pd.DataFrame(rows, columns=["model", "step", "tokens"]).astype({"tokens": "Int64"})


def _onsets(models, steps):
    """Sharing of the main model comes an octave and a half behind competence; that of the control never."""
    curves, onsets, gaps = [], [], []
    for m, (measure, late) in itertools.product(models.itertuples(), zip(MEASURES, (8, 7, 9.5), strict=True)):
        never = measure == "sharing" and m.role == "control"
        for step in steps:
            value = 1 / (1 + np.exp(-2 * (np.log2(step + 1) - late)))
            risen = np.nan if never else value
            curves.append(
                (m.model, measure, step, value, value - 0.1, value + 0.1, risen, risen - 0.1, risen + 0.1)
            )
        ends = (float(min(steps)), float(max(steps)))
        for at, concept in enumerate(("*", *CONCEPTS)):
            onset = np.nan if never else float(np.clip(2**late + 5 * at, *ends))
            known = concept == "*"
            band = (onset - 5, onset + 5) if known else (np.nan, np.nan)
            onsets.append((m.model, "*", "*", concept, measure, onset, *band, *ends, 0.1, 0.3, 0.2, 0.4))
            if measure == "sharing":
                octaves = np.nan if never else 1.5 + 0.1 * at
                band = (octaves - 0.2, octaves + 0.2) if known else (np.nan, np.nan)
                gaps.append(
                    (
                        m.model,
                        "*",
                        "*",
                        concept,
                        measure,
                        "competence",
                        octaves,
                        *band,
                        0.4,
                        0.01,
                        5,
                        len(CONCEPTS),
                    )
                )
    place = ["model", "lang_a", "lang_b", "concept", "measure"]
    bounds = ["after", "by", "first", "rise", "rise_low", "rise_high"]
    risen = ["risen", "risen_low", "risen_high"]
    return {
        "onset": pd.DataFrame(onsets, columns=[*place, "onset", "low", "high", *bounds]),
        "onset_gaps": pd.DataFrame(
            gaps,
            columns=[
                *place,
                "behind",
                "octaves",
                "low",
                "high",
                "null_high",
                "p_value",
                "n_later",
                "n_concepts",
            ],
        ),
        "onset_curves": pd.DataFrame(
            curves, columns=["model", "measure", "step", "value", "low", "high", *risen]
        ),
    }


def _left_out(models, steps, sharing, languages):
    """The more languages choose, the better the unit; of the control no better than for other concepts."""
    rows = []
    for m, step in itertools.product(models.itertuples(), steps):
        for size, rule in itertools.product(
            sorted({1, max(1, len(languages) // 2), max(1, len(languages) - 1)}), ("worst", "mean")
        ):
            for concept in ("*", *CONCEPTS):
                ap = 0.19 + 0.1 * np.sqrt(size) * 8 * _growth(step, m.role, sharing)
                band = (ap - 0.02, ap + 0.02) if concept == "*" else (np.nan, np.nan)
                rows.append(
                    {"model": m.model, "step": step, "chosen_in": size, "rule": rule, "lang": "*", "concept": concept,
                     "ap": ap, "low": band[0], "high": band[1], "ap_other_concepts": 0.185, "ap_random_units": 0.182,
                     "chance_ap": 0.18, "positive_rate": 1 / 6, "worst_ap": ap - 0.05, "at_most": 0.1, "n_splits": 8}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _representations(models, steps, sharing):
    """Retrieval grows with sharing; neighbours and CKA grow in all models alike."""
    rows = []
    for m, step, layer in itertools.product(models.itertuples(), steps, LAYERS):
        values = {"retrieval": 0.1 + 2 * _growth(step, m.role, sharing), "neighbours": 0.3 + 0.02 * np.log2(step + 1),
                  "cka": 0.7 + 0.01 * layer}  # fmt: skip
        nulls = {"retrieval": 0.01, "neighbours": 0.1, "cka": 0.002}
        for measure, centred in itertools.product(values, (False, True)):
            if measure == "cka" and not centred:
                continue
            value = values[measure] + 0.01 * layer
            band = (np.nan, np.nan) if measure == "cka" else (value - 0.05, value + 0.05)
            tested = (0.02, 0.025) if measure == "cka" else (np.nan, np.nan)
            rows.append(
                (m.model, step, layer, measure, centred, "*", "*", value, *band, nulls[measure], *tested, 100)
            )
    columns = ["model", "step", "layer", "measure", "centred", "lang_a", "lang_b", "value", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "null", "null_high", "p_value", "n"])


def _confounds(models, steps, sharing):
    """Length predicts a little; two scripts share nearly what all pairs do, whatever else they have in common."""
    cells, pairs = [], []
    for m in models.itertuples():
        cells.append(
            {"model": m.model, "step": max(steps), "lang": "*", "concept": "*", "ap_bytes": 0.2, "ap_tokens": 0.22,
             "ap_shared_tokens": 0.19, "ap_all": 0.25, "low": 0.22, "high": 0.28, "ap_experts": 0.6, "gain": 0.35,
             "gain_low": 0.3, "gain_high": 0.4, "chance_ap": 0.18, "positive_rate": 1 / 6, "n": 48}
        )  # fmt: skip
        shares = {"same_script": 0.1, "all_pairs": 1.0, "other_script": 0.9, "other_script_left": 0.8}
        for step, (term, share) in itertools.product(steps, shares.items()):
            value = share * _growth(step, m.role, sharing)
            tested = (0.02, 0.4) if term == "same_script" else (np.nan, np.nan)
            pairs.append((m.model, step, term, value, value - 0.03, value + 0.03, *tested, 28, 8, 6))
    columns = ["model", "step", "term", "value", "low", "high", "null_high", "p_value"]
    counts = ["n_pairs", "n_langs", "n_concepts"]
    return {"confounds": pd.DataFrame(cells), "confound_pairs": pd.DataFrame(pairs, columns=columns + counts)}


def _language_units(models, steps):
    """Units tell languages sooner in late layers; they are experts of concepts by chance."""
    counts, overlap = [], []
    for m, step in itertools.product(models.itertuples(), steps):
        for layer in (-1, *LAYERS[1:]):
            ap = 0.3 + 0.05 * np.log2(step + 1) + 0.01 * layer
            counts.append(
                {"model": m.model, "step": step, "lang": "*", "layer": layer, "share": 0.01 * ap, "low": 0.008 * ap,
                 "high": 0.012 * ap, "null": 0.0, "ap": ap, "ap_low": ap - 0.05, "ap_high": ap + 0.05, "null_ap": 0.2,
                 "lape": 0.00125, "n_units": 2304, "n_neurons": 1024, "n": 100}
            )  # fmt: skip
        overlap.append(
            {"model": m.model, "step": step, "lang": "*", "overlap": 0.03, "low": 0.02, "high": 0.04, "other_languages": 0.03,
             "difference": 0.0, "difference_low": -0.01, "difference_high": 0.01, "chance": CHANCE, "k": 46, "n_units": 2304,
             "n_concepts": 6}
        )  # fmt: skip
    return {"language_units": pd.DataFrame(counts), "language_overlap": pd.DataFrame(overlap)}


def _ablation(models, steps, sharing, languages):
    """Experts are used in their own language by all models, in others as far as these share; controls do nothing."""
    rows = []
    conditions = ("experts", "random", "random_dose", "other_concept")
    pairs = [("*", "*"), ("=", "="), *itertools.product(languages, languages)]
    for m, step, (source, target), condition in itertools.product(
        models.itertuples(), steps, pairs, conditions
    ):
        is_own, is_control = source == target != "*", condition != "experts"
        used = 0.01 * np.log2(step + 1) if is_own else _growth(step, m.role, sharing)
        damage = 0.002 if is_control else used
        gain = (used - 0.002, used - 0.012, used + 0.008) if is_control else (np.nan,) * 3
        relative = (0.5, 0.3, 0.7) if source == "*" and step else (np.nan,) * 3
        band = (damage - 0.01, damage + 0.01)
        at = (m.model, step, source, target, condition)
        rows.append((*at, damage, *band, *gain, *relative, 2.0, len(CONCEPTS), 96))
    columns = ["model", "step", "source", "target", "condition", "damage", "low", "high", "gain", "gain_low"]
    columns += ["gain_high", "relative", "relative_low", "relative_high", "loss", "n_concepts", "n_sentences"]
    return pd.DataFrame(rows, columns=columns)


def _patching(models, steps, sharing, languages):
    """Values of a model's own language move it, those of others as far as languages share; controls do nothing."""
    rows = []
    pairs = [("*", "*"), ("=", "="), *itertools.product(languages, languages)]
    conditions = ["experts", "source_experts", "random", "random_dose", "state_middle"]
    conditions += [f"{name}_control" for name in conditions]
    for m, step, (source, target), condition in itertools.product(
        models.itertuples(), steps, pairs, conditions
    ):
        is_own = source == target != "*"
        growth = 0.1 * np.log2(step + 1) if is_own else 4 * _growth(step, m.role, sharing)
        moves = condition in ("experts", "source_experts", "state_middle")
        moved = growth if moves else 0.01
        gain = (np.nan,) * 3 if condition.endswith("_control") else (moved - 0.01, moved - 0.1, moved + 0.08)
        left = (np.nan,) * 3 if is_own else (0.5 * moves, 0.5 * moves - 0.1, 0.5 * moves + 0.1)
        relative = (0.5, 0.3, 0.7) if source == "*" and step and moves else (np.nan,) * 3
        at = (m.model, step, source, target, condition, 2 * condition.startswith("state"))
        rows.append((*at, moved, moved - 0.1, moved + 0.1, *left, *gain, *relative, -3.0, len(CONCEPTS), 96))
    columns = [
        "model",
        "step",
        "source",
        "target",
        "condition",
        "layer",
        "moved",
        "low",
        "high",
        "left",
        "left_low",
    ]
    columns += [
        "left_high",
        "gain",
        "gain_low",
        "gain_high",
        "relative",
        "relative_low",
        "relative_high",
        "before",
    ]
    return pd.DataFrame(rows, columns=[*columns, "n_concepts", "n_sentences"])
