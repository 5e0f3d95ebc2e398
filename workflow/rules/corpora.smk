"""Text: what the models are pre-trained on, and the sentences they are analysed on.

Reads   the grammar of the package, or the text files that the study names
Writes  <results>/corpora/{corpus}/{lang}.jsonl
        <results>/sentences/{lang}.tsv
        <results>/concepts/{lang}.tsv and <results>/concepts/words.json
"""


rule make_demo_corpus:
    output:
        "<results>/corpora/{corpus}/{lang}.jsonl",
    log:
        "<logs>/make_demo_corpus/{corpus}/{lang}.log",
    wildcard_constraints:
        corpus=corpora("grammar"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("make_demo_corpus"),
    params:
        grammar=grammar_settings,
        heldout=lambda wildcards: STUDY.corpora[wildcards.corpus].heldout,
        seed=STUDY.seed,
        version=version("make_demo_corpus"),
    message:
        "write the {wildcards.lang} documents of corpus {wildcards.corpus}"
    script:
        "../scripts/make_demo_corpus.py"


rule prepare_corpus:
    input:
        lambda wildcards: STUDY.corpus_path(wildcards.corpus, wildcards.lang),
    output:
        "<results>/corpora/{corpus}/{lang}.jsonl",
    log:
        "<logs>/prepare_corpus/{corpus}/{lang}.log",
    wildcard_constraints:
        corpus=corpora("text"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("prepare_corpus"),
    params:
        heldout=lambda wildcards: STUDY.corpora[wildcards.corpus].heldout,
        letters=letters,
        seed=STUDY.seed,
        version=version("prepare_corpus"),
    message:
        "prepare the {wildcards.lang} text of corpus {wildcards.corpus}"
    script:
        "../scripts/prepare_corpus.py"


rule prepare_dataset:
    output:
        "<results>/corpora/{corpus}/{lang}.jsonl",
    log:
        "<logs>/prepare_dataset/{corpus}/{lang}.log",
    wildcard_constraints:
        corpus=corpora("dataset"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("prepare_dataset"),
    params:
        dataset=dataset_settings,
        seed=STUDY.seed,
        version=version("prepare_dataset"),
    message:
        "read the {wildcards.lang} data set of corpus {wildcards.corpus}"
    script:
        "../scripts/prepare_dataset.py"


rule prepare_sentences:
    input:
        lambda wildcards: STUDY.sentence_files(wildcards.lang),
        groups=lambda wildcards: STUDY.group_files(wildcards.lang),
    output:
        "<results>/sentences/{lang}.tsv",
    log:
        "<logs>/prepare_sentences/{lang}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("prepare_sentences"),
    params:
        source=STUDY.sentences.source,
        lang=lambda wildcards: STUDY.original(wildcards.lang),
        letters=letters,
        per_concept=STUDY.sentences.per_concept,
        duplicates=STUDY.sentences.duplicates,
        # Only these two sources make their sentences from the concepts.
        concepts=[] if STUDY.sentences.source == "parallel" else list(STUDY.concept_ids),
        files=lambda wildcards: STUDY.concept_files(wildcards.lang),
        groups=STUDY.sentence_groups,
        seed=STUDY.seed,
        version=version("prepare_sentences"),
    message:
        "prepare the {wildcards.lang} sentences to analyse"
    script:
        "../scripts/prepare_sentences.py"


rule prepare_concepts:
    input:
        sentences="<results>/sentences/{lang}.tsv",
        labels=lambda wildcards: STUDY.label_files(wildcards.lang),
    output:
        "<results>/concepts/{lang}.tsv",
    log:
        "<logs>/prepare_concepts/{lang}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("prepare_concepts"),
    params:
        source=STUDY.concepts.source,
        words=STUDY.word_lists,
        label_language=STUDY.concepts.label_language,
        files=lambda wildcards: STUDY.concept_files(wildcards.lang),
        duplicates=STUDY.sentences.duplicates,
        version=version("prepare_concepts"),
    message:
        "label which {wildcards.lang} sentences express which concept"
    script:
        "../scripts/prepare_concepts.py"


rule write_concept_words:
    output:
        "<results>/concepts/words.json",
    log:
        "<logs>/write_concept_words.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("write_concept_words"),
    params:
        source=STUDY.concepts.source,
        words=STUDY.word_forms,
        concepts=list(STUDY.concept_ids),
        languages=list(STUDY.languages),
        clones=STUDY.clones_among(STUDY.languages),
        version=version("write_concept_words"),
    message:
        "list the words by which concepts are found in generated text"
    script:
        "../scripts/write_concept_words.py"


rule collect_concepts:
    input:
        concepts=expand("<results>/concepts/{lang}.tsv", lang=STUDY.languages),
        sentences=expand("<results>/sentences/{lang}.tsv", lang=STUDY.languages),
        label_text=STUDY.label_files(STUDY.languages[0]) if STUDY.word_lists else [],
    output:
        concepts=report("<results>/tables/concepts.tsv", category="tables", labels={"table": "concepts"}),
        words="<results>/tables/concept_words.tsv",
        shared="<results>/tables/concept_pairs.tsv",
        pairs=report("<results>/tables/pairs.tsv", category="tables", labels={"table": "language pairs"}),
        purity=report("<results>/tables/purity.tsv", category="tables", labels={"table": "purity"}),
    log:
        "<logs>/collect_concepts.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("collect_concepts"),
    params:
        languages=list(STUDY.languages),
        words=STUDY.word_lists,
        label_language=STUDY.concepts.label_language,
        clones=STUDY.clones_among(STUDY.languages),
        version=version("collect_concepts"),
    message:
        "count the sentences of every concept, identify their languages and compare how these are written"
    script:
        "../scripts/collect_concepts.py"
