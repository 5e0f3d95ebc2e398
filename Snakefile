"""babelscope: from language-specific to shared neurons during pre-training.

Where files lie, under results/<study>/:

    corpora/{corpus}/{lang}.jsonl               text to pre-train on
    sentences/{lang}.tsv  concepts/{lang}.tsv   text to analyse, and what each sentence expresses
    tokenizers/{tokenizer}/  tokens/            subwords, and the corpora in them
    models/{model}/{step}/                      one Hugging Face folder per checkpoint
    audit/{model}/{step}.h5                     its hashes, a sketch of its weights, its held-out losses
    activations/{model}/{step}/{lang}.*.h5      what the model computes on the sentences
    scores/  experts/  probes/                  per (model, step, lang) or (model, step, layer)
    alignment/  generation/                     per (model, step)
    tables/  figures/  report.html              the study as a whole
    logs/  benchmarks/                          per rule, then as above
"""

from snakemake.utils import min_version

min_version("9.12")

# A study given with --configfile stands alone; the demo is the default, not a base to merge into.
if "study" not in config:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/probing.smk"
include: "workflow/rules/experts.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/generation.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        "<results>/report.html",


# Every number of the study, without figures and report.
rule tables:
    input:
        tables(TABLES).values(),


rule models:
    input:
        [
            file
            for model in MODELS.values()
            for step in model.steps
            for file in model_files(model.run_id, step)
        ],


onstart:
    enter_run(log)


onsuccess:
    announce_report()
