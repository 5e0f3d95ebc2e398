"""Views behind the four findings; each can be switched on and off (`views` in a study).

Units of languages, ablation and patching run the models once more; the others are made from what is there.

Reads   <results>/{experts,best}/{model}/{steps}.*, <results>/activations/{model}/{steps}/{langs}.tokens.h5,
        <results>/tables/transfer.parquet, audit.tsv; for confounds also the text: sentences, concepts, corpora;
        for units of languages, ablation and patching the checkpoints, sentences and concepts
Writes  <results>/tables/onset.parquet, onset_gaps.parquet, onset_curves.parquet
        <results>/tables/left_out.parquet, representations.parquet
        <results>/tables/confounds.parquet, confound_pairs.parquet
        <results>/language_units/{model}/{steps}.*.parquet, <results>/tables/language_{units,overlap}.parquet
        <results>/ablation/{model}/{steps}.parquet, <results>/tables/ablation.parquet
        <results>/patching/{model}/{steps}.parquet, <results>/tables/patching.parquet
"""


rule measure_onset:
    input:
        experts=each("<results>/experts/{model}/{steps}.parquet"),
        transfer="<results>/tables/transfer.parquet",
        audit="<results>/tables/audit.tsv",
    output:
        onset=report("<results>/tables/onset.parquet", category="tables", labels={"table": "onset"}),
        gaps=report("<results>/tables/onset_gaps.parquet", category="tables", labels={"table": "onset gaps"}),
        curves=report(
            "<results>/tables/onset_curves.parquet", category="tables", labels={"table": "onset curves"}
        ),
    log:
        "<logs>/measure_onset.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("measure_onset"),
    params:
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("measure_onset"),
    message:
        "tell when competence comes, and when sharing"
    script:
        "../scripts/measure_onset.py"


rule measure_left_out:
    input:
        of_viewed_steps("<results>/best/{model}/{steps}.h5"),
    output:
        report("<results>/tables/left_out.parquet", category="tables", labels={"table": "left-out languages"}),
    log:
        "<logs>/measure_left_out.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("measure_left_out"),
    params:
        steps=viewed_cells(),
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("measure_left_out"),
    message:
        "test units chosen in some languages in those that were left out"
    script:
        "../scripts/measure_left_out.py"


rule compare_states:
    input:
        expand(of_viewed_steps("<results>/activations/{model}/{steps}/{{langs}}.tokens.h5"), langs=LANGS),
    output:
        report(
            "<results>/tables/representations.parquet",
            category="tables",
            labels={"table": "representations"},
        ),
    log:
        "<logs>/compare_states.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("compare_states"),
    params:
        steps=viewed_cells(),
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("compare_states"),
    message:
        "compare the states of parallel sentences, layer by layer"
    script:
        "../scripts/compare_states.py"


rule measure_confounds:
    input:
        experts=each("<results>/experts/{model}/{steps}.parquet"),
        transfer="<results>/tables/transfer.parquet",
        audit="<results>/tables/audit.tsv",
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
        checkpoints=[file for model in MODELS.values() for file in model.files(model.steps[-1])],
        training=training_text(),
    output:
        cells=report("<results>/tables/confounds.parquet", category="tables", labels={"table": "confounds"}),
        pairs=report(
            "<results>/tables/confound_pairs.parquet",
            category="tables",
            labels={"table": "confounds of pairs"},
        ),
    log:
        "<logs>/measure_confounds.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("measure_confounds"),
    params:
        models=cut_and_trained(),
        source=STUDY.concepts.source,
        words=STUDY.word_forms,
        concepts=list(STUDY.concept_ids),
        languages=list(STUDY.languages),
        clones=STUDY.clones_among(STUDY.languages),
        parallel=STUDY.sentences.source != "concepts",
        bootstrap=STUDY.experts.bootstrap,
        permutations=STUDY.experts.permutations,
        seed=STUDY.seed,
        version=version("measure_confounds"),
    message:
        "measure what could pass for expertise, and for sharing"
    script:
        "../scripts/measure_confounds.py"


rule find_language_units:
    input:
        model=checkpoints(viewing_steps),
        dictionaries=dictionaries(viewing_steps),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
    output:
        counts="<results>/language_units/{model}/{steps}.counts.parquet",
        best="<results>/language_units/{model}/{steps}.best.parquet",
    log:
        "<logs>/find_language_units/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/find_language_units/{model}/{steps}.tsv"
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("find_language_units"),
        gpu=1,
    params:
        **latents(viewing_steps),
        folders=folders(viewing_steps),
        langs=list(STUDY.languages),
        extraction=run_settings,
        k=lambda wildcards: STUDY.n_experts(wildcards.model),
        seed=STUDY.seed,
        version=version("find_language_units"),
    message:
        "find the units of {wildcards.model}, step {wildcards.steps}, that tell a language"
    script:
        "../scripts/find_language_units.py"


rule collect_language_units:
    input:
        counts=each("<results>/language_units/{model}/{steps}.counts.parquet", "viewing"),
        best=each("<results>/language_units/{model}/{steps}.best.parquet", "viewing"),
        experts=of_viewed_steps("<results>/experts/{model}/{steps}.parquet"),
    output:
        units=report(
            "<results>/tables/language_units.parquet",
            category="tables",
            labels={"table": "units of languages"},
        ),
        overlap=report(
            "<results>/tables/language_overlap.parquet",
            category="tables",
            labels={"table": "units of languages and concepts"},
        ),
    log:
        "<logs>/collect_language_units.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_language_units"),
    params:
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("collect_language_units"),
    message:
        "collect the units that tell a language, and compare them with experts"
    script:
        "../scripts/collect_language_units.py"


rule ablate_experts:
    input:
        model=checkpoints(viewing_steps),
        dictionaries=dictionaries(viewing_steps),
        experts=holding(viewing_steps, "<results>/experts/{model}/{steps}.parquet"),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
    output:
        "<results>/ablation/{model}/{steps}.parquet",
    log:
        "<logs>/ablate_experts/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/ablate_experts/{model}/{steps}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("ablate_experts"),
        gpu=1,
    params:
        **latents(viewing_steps),
        folders=folders(viewing_steps),
        langs=list(STUDY.languages),
        concepts=list(STUDY.ablated_concepts),
        n_sentences=STUDY.views.ablated_sentences,
        extraction=run_settings,
        seed=STUDY.seed,
        version=version("ablate_experts"),
    message:
        "set experts of {wildcards.model}, step {wildcards.steps}, to their means"
    script:
        "../scripts/ablate_experts.py"


rule collect_ablation:
    input:
        each("<results>/ablation/{model}/{steps}.parquet", "viewing"),
    output:
        report("<results>/tables/ablation.parquet", category="tables", labels={"table": "ablation"}),
    log:
        "<logs>/collect_ablation.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_ablation"),
    params:
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("collect_ablation"),
    message:
        "compare the damage of ablation across languages and within them"
    script:
        "../scripts/collect_ablation.py"


rule patch_experts:
    input:
        model=checkpoints(viewing_steps),
        experts=holding(viewing_steps, "<results>/experts/{model}/{steps}.parquet"),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
        words="<results>/concepts/words.json",
    output:
        "<results>/patching/{model}/{steps}.parquet",
    log:
        "<logs>/patch_experts/{model}/{steps}.log",
    benchmark:
        "<benchmarks>/patch_experts/{model}/{steps}.tsv"
    priority: WRITE
    conda:
        "../../envs/gpu.yaml"
    resources:
        **needs("patch_experts"),
        gpu=1,
    params:
        folders=folders(viewing_steps),
        langs=list(STUDY.languages),
        clones=STUDY.clones_among(STUDY.languages),
        concepts=list(STUDY.patched_concepts),
        n_sentences=STUDY.views.patched_sentences,
        extraction=run_settings,
        seed=STUDY.seed,
        version=version("patch_experts"),
    message:
        "put experts' values of {wildcards.model}, step {wildcards.steps}, into sentences of another concept"
    script:
        "../scripts/patch_experts.py"


rule collect_patching:
    input:
        each("<results>/patching/{model}/{steps}.parquet", "viewing"),
    output:
        report("<results>/tables/patching.parquet", category="tables", labels={"table": "patching"}),
    log:
        "<logs>/collect_patching.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_patching"),
    params:
        langs=list(STUDY.languages),
        bootstrap=STUDY.experts.bootstrap,
        seed=STUDY.seed,
        version=version("collect_patching"),
    message:
        "tell whether patched sentences move to another concept, across languages and within them"
    script:
        "../scripts/collect_patching.py"
