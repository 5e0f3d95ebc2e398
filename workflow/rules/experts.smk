"""Expertise: how well every unit predicts every concept, and which units are the experts.

Reads   <results>/activations/{model}/{step}/{lang}.units.h5, <results>/concepts/{lang}.tsv
Writes  <results>/scores/{model}/{step}/{lang}.h5         average precision per unit and concept (kept)
        <results>/experts/{model}/{step}/{lang}.parquet   the top K
"""

for batch in LANG_BATCHES:

    rule:
        name:
            batch.rule("score_units")
        input:
            units=expand(
                "<results>/activations/{{model}}/{step}/{lang}.units.h5",
                step=batch.step_paths,
                lang=batch.part_paths,
            ),
            concepts=expand("<results>/concepts/{lang}.tsv", lang=batch.part_paths),
        output:
            expand(
                "<results>/scores/{{model}}/{step}/{lang}.h5", step=batch.step_paths, lang=batch.part_paths
            ),
        log:
            f"<logs>/score_units/{{model}}/{batch.name}.log",
        benchmark:
            f"<benchmarks>/score_units/{{model}}/{batch.name}.tsv"
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
            lang=batch.part_constraint,
        # Before any new extraction: what is scored is removed.
        priority: 20
        conda:
            "../../envs/cpu.yaml"
        threads: threads_of("score_units", batch)
        resources:
            **needs("score_units", batch),
            **activations(batch),
        params:
            steps=batch.steps_of,
            min_positive=STUDY.concepts.min_positive,
            block_units=STUDY.experts.block_units,
            version=STAGE_VERSION["experts"],
        message:
            "score every unit of {wildcards.model} for every concept"
        script:
            "../scripts/score_units.py"

    rule:
        name:
            batch.rule("select_experts")
        input:
            expand(
                "<results>/scores/{{model}}/{step}/{lang}.h5", step=batch.step_paths, lang=batch.part_paths
            ),
        output:
            expand(
                "<results>/experts/{{model}}/{step}/{lang}.parquet",
                step=batch.step_paths,
                lang=batch.part_paths,
            ),
        log:
            f"<logs>/select_experts/{{model}}/{batch.name}.log",
        wildcard_constraints:
            model=batch.model_constraint,
            step=batch.step_constraint,
            lang=batch.part_constraint,
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("select_experts", batch),
        params:
            k=lambda wildcards: STUDY.n_experts(wildcards.model),
            version=STAGE_VERSION["experts"],
        message:
            "select the {params.k} experts of every concept in {wildcards.model}"
        script:
            "../scripts/select_experts.py"
