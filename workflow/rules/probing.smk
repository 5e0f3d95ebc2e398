"""Language identity: how well a linear probe tells the language from one token's state.

Reads   <results>/activations/{model}/{step}/{lang}.tokens.h5, all languages
Writes  <results>/probes/{model}/{step}/layer-{layer}.tsv
        <results>/tables/probes.parquet
"""

for batch in LAYER_BATCHES:

    rule:
        name:
            batch.rule("fit_language_probe")
        input:
            expand(
                "<results>/activations/{{model}}/{step}/{lang}.tokens.h5",
                step=batch.step_paths,
                lang=STUDY.languages,
            ),
        output:
            expand(
                "<results>/probes/{{model}}/{step}/layer-{layer}.tsv",
                step=batch.step_paths,
                layer=batch.part_paths,
            ),
        log:
            f"<logs>/fit_language_probe/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/fit_language_probe/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
            layer=batch.part_constraint,
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("fit_language_probe", batch),
        params:
            steps=batch.steps_of,
            layers=batch.parts_of,
            langs=list(STUDY.languages),
            settings=settings(STUDY.probes),
            seed=STUDY.seed,
            version=STAGE_VERSION["probing"],
        message:
            "probe the layers of {wildcards.model} for the language"
        script:
            "../scripts/fit_language_probe.py"


rule collect_probes:
    input:
        [
            f"<results>/probes/{run_id}/{step}/layer-{layer}.tsv"
            for run_id, model in MODELS.items()
            for step in model.steps
            for layer in range(STUDY.n_layers(run_id) + 1)
        ],
    output:
        report("<results>/tables/probes.parquet", category="tables", labels={"table": "language probes"}),
    log:
        "<logs>/collect_probes.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_probes"),
    params:
        version=STAGE_VERSION["probing"],
    message:
        "collect the language probes"
    script:
        "../scripts/collect_probes.py"
