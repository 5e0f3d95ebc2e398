"""What a study costs, job by job, before anything runs: time, memory, disk, downloads.

A job's time is operations over a rate, plus what starting costs; its bytes are the shapes that are stored.
The constants were fitted to the ``benchmark:`` files of the demo and of the study of real text (see
docs/cost.md, which compares the two); they are right within a factor of two, not more. The same figures
set the time limit and the memory of every job (workflow/rules/common.smk) and fill the table of
``babelscope plan``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from babelscope.analysis.settings import CHOICE_DRAWS
from babelscope.capture.settings import PART_BYTES, ExtractionSettings, is_padded
from babelscope.models.architectures import is_encoder
from babelscope.models.dimensions import dimensions, n_parameters
from babelscope.ops import sizes
from babelscope.ops.stages import STAGES, JobCells
from babelscope.study.config import Study
from babelscope.study.models import PretrainedModel

STORED = {"float16": 2, "float32": 4}

#: A token is about four bytes of UTF-8 in many scripts: fewer characters where a character takes more bytes.
_BYTES_PER_TOKEN = 4
#: The grammar of the demo writes sentences of about this many tokens.
_GRAMMAR_TOKENS = 12
#: Bytes that a unit and concept take in a file of scores: three average precisions and a median; where words
#: are known, two more.
_SCORE_BYTES, _WORD_BYTES = 16, 8
#: Bytes of a kept unit of a concept, packed: on three subsets, in model and layers; in each language. And of
#: its number alone, on two subsets.
_BEST_BYTES, _ABROAD_BYTES, _NUMBER_BYTES = 0.6 * 3 * (12 + 8), 0.82 * 2 * 4, 0.6 * 2 * 4

#: Cores that a job on a cluster may take.
MAX_THREADS = 16

# Seconds that a job takes before it computes: interpreter and imports. The engine's part is _ENGINE.
_START = {"plain": 1.5, "science": 2.0, "numba": 4.0, "torch": 6.0}
#: Seconds of Snakemake around a job on this machine; on a cluster it starts twice more, see docs/cluster.md.
_ENGINE = 0.3
#: Memory of Snakemake beside the job's own process, and of a job that runs no model.
ENGINE_MEMORY = 250_000_000
_PLAIN_MEMORY = 450_000_000
#: The same of one that has imported scikit-learn, numba or pandas.
_SCIENCE_MEMORY = 500_000_000
#: What CUDA adds on the host; from other people's reports, not measured by us.
_CUDA = 2_500_000_000


@dataclass(frozen=True)
class Rates:
    """How fast a machine is.

    Attributes:
        cpu_flops: Operations a second of one core in float32, in blocks that are large enough.
        gpu_flops: The same of a GPU, at the share of its peak that is reached.
        disk: Bytes a second, read or written.
        network: Bytes a second, from the hub.
    """

    cpu_flops: float = 60e9
    #: An A100 in bfloat16 at a third of its 312 Tflop/s, as the paper's own training comes out.
    gpu_flops: float = 312e12 / 3
    disk: float = 500e6
    network: float = 100e6


@dataclass(frozen=True)
class Cost:
    """What a job takes.

    Attributes:
        seconds: Of one core, or of a GPU.
        memory: Most bytes of the host at a time.
        kept: Bytes that stay on the disk.
        temporary: Bytes that go once they were read.
        download: Bytes from the hub.
        threads: Cores that share the seconds.
        beside: Cores that work beside a GPU, whose seconds they are.
    """

    seconds: float
    memory: float = _PLAIN_MEMORY
    kept: float = 0.0
    temporary: float = 0.0
    download: float = 0.0
    threads: int = 1
    beside: int = 0

    @property
    def wall(self) -> float:
        """Seconds from start to end."""
        return self.seconds / self.threads

    @property
    def cores(self) -> int:
        """Cores that the job asks for."""
        return max(self.threads, self.beside)


class _Text(NamedTuple):
    sentences: int
    tokens: float


@dataclass
class CostModel:
    """Costs of the jobs of a study.

    Args:
        study: The study; of its files only sizes and numbers of lines are read.
        gpu: Whether models run on a GPU.
        max_threads: Most cores of one job that can use several.
        rates: How fast the machine is.
    """

    study: Study
    gpu: bool = False
    max_threads: int = 1
    rates: Rates = field(default_factory=Rates)
    _known: dict[JobCells, Cost] = field(default_factory=dict, init=False, repr=False)
    _texts: dict[str, _Text] = field(default_factory=dict, init=False, repr=False)

    def cost(self, job: JobCells) -> Cost:
        """What a job takes.

        Raises:
            KeyError: If there is no stage of this name.
        """
        if job not in self._known:
            self._known[job] = getattr(self, STAGES[job.stage].cost)(job)
        return self._known[job]

    def _text(self, lang: str) -> _Text:
        if lang not in self._texts:
            self._texts[lang] = self._size_up(lang)
        return self._texts[lang]

    def _size_up(self, lang: str) -> _Text:
        study = self.study
        if study.sentences.source == "grammar":
            each = study.sentences.per_concept * (2 if study.has_pairs else 1)
            return _Text(each * self._n_concepts, _GRAMMAR_TOKENS)
        found = [_size_and_sentences(Path(path)) for path in study.sentence_files(lang)]
        size, sentences = (sum(column) for column in zip(*found, strict=True))
        tokens = min(size / max(1, sentences) / _BYTES_PER_TOKEN + 1, study.extraction.max_length)
        return _Text(max(1, sentences), tokens)

    @cached_property
    def _n_concepts(self) -> int:
        return len(self.study.concept_ids)

    def _config(self, run_id: str) -> dict[str, Any]:
        model = self.study.models[run_id]
        config = model.config
        if isinstance(model, PretrainedModel):
            config = {**config, "vocab_size": self.study.tokenizers[model.tokenizer].vocabulary_size}
        return config

    def _settings(self, run_id: str) -> ExtractionSettings:
        model, run = self.study.models[run_id], self.study.extraction
        own = {"batch_size": model.batch_size, "compute_dtype": model.compute_dtype}
        return run.model_copy(update={name: value for name, value in own.items() if value})

    def _body(self, run_id: str) -> float:
        """Parameters that every token meets; of the tables for words it meets one row."""
        sizes_ = dimensions(self._config(run_id))
        tables = sizes_.vocab * (1 if sizes_.tied else 2) * sizes_.embedding
        encoders = sizes.encoder_parameters(self._config(run_id), self.study.extraction.sites)
        return max(1, n_parameters(self._config(run_id), active=True) - tables) + encoders

    def _weights(self, run_id: str) -> float:
        return sizes.weight_bytes(self._config(run_id), self._settings(run_id).compute_dtype)

    def _flops(self) -> float:
        return self.rates.gpu_flops if self.gpu else self.rates.cpu_flops

    def _load(self, run_id: str) -> float:
        """Seconds to load a checkpoint, and the dictionaries whose latents are units."""
        dictionaries = sizes.dictionary_bytes(self._config(run_id), self.study.extraction.sites)
        return 0.2 + (self._weights(run_id) + dictionaries) / self.rates.disk

    def _widest(self, run_id: str) -> int:
        """Units of the widest layer and site, about."""
        return sizes.widest_site(self._config(run_id), self.study.extraction.sites)

    def _computing(self, operations: float, calls: float) -> float:
        """Seconds of operations and of the calls that start them; a GPU works while the next are made."""
        parts = (operations / self._flops(), calls * _CALL)
        return max(parts) if self.gpu else sum(parts)

    def _host(self, run_id: str, memory: float, *, copies: float = 1) -> float:
        """Memory on the host, the engine's included.

        Args:
            run_id: The model.
            memory: What the job takes on a CPU.
            copies: How often the weights are in memory. On a GPU only they pass through the host.
        """
        if self.gpu:
            config = self._config(run_id)
            on_device = sizes.activation_bytes(config, self._settings(run_id))
            # Of dictionaries one at a time does so.
            passing = copies * self._weights(run_id)
            passing += sizes.largest_dictionary(config, self.study.extraction.sites)
            memory = min(memory - on_device, _CUDA + passing) + _CUDA
        return memory + sizes.tokenizer_memory(self._config(run_id)) + ENGINE_MEMORY

    def score_bytes(self, job: JobCells) -> float:
        """Scores of all units in the cells of a job that go once they are ranked.

        Ranking takes all languages of a step, but counts as the last of the jobs that scored them: so it can
        start as soon as that one ends. If it had to wait until there is room for all, new scores would take
        what becomes free, and pile up.
        """
        if self.study.keep_scores:
            return 0.0
        size = self.study.granularity.languages_per_job
        langs = len(job.parts) or len(self.study.languages) % size or size
        return len(job.steps) * langs * self._score_bytes(job.model)

    def _score_bytes(self, run_id: str) -> float:
        n_units = self.study.n_units(run_id) * len(self.study.extraction.poolings)
        return float(self._score_width * n_units * self._n_concepts)

    @property
    def _score_width(self) -> int:
        """Bytes of a unit and concept."""
        return _SCORE_BYTES + (_WORD_BYTES if self._knows_words else 0)

    @property
    def _knows_words(self) -> bool:
        """Whether sentences can be split by the words of their concept."""
        return self.study.concepts.source != "files"

    @property
    def _best_width(self) -> float:
        """Bytes of a kept unit of a concept and language, apart from its scores in other languages."""
        sites = 2 if len(self.study.extraction.sites) > 1 else 0  # over all layers and in each
        numbers = sites + (2 + sites if self._knows_words else 0)
        return _BEST_BYTES + numbers * _NUMBER_BYTES

    def extract(self, job: JobCells) -> Cost:
        """A forward pass over the sentences: computing, pooling; scoring, or writing what is scored later."""
        config, settings, study = self._config(job.model), self._settings(job.model), self.study
        n_units, shape = study.n_units(job.model), dimensions(config)
        computing = scoring = units = tokens = 0.0
        for lang in job.parts:
            text = self._text(lang)
            read = text.sentences * text.tokens
            batches = math.ceil(text.sentences / settings.batch_size)
            # Each hook call costs, whatever the size; pooling passes over every activation.
            calls = batches * shape.n_layers * (2 + len(settings.sites))
            for poolings in settings.passes:
                run = text.sentences * settings.max_length if is_padded(poolings) else read
                computing += self._computing(2 * self._body(job.model) * run, calls)
                computing += run * n_units * len(poolings) * (_POOL_GPU if self.gpu else _POOL)
                computing += text.sentences * n_units * len(poolings) * _TO_HOST
            scoring += len(settings.poolings) * self._scoring(job.model, text.sentences)
            rows = min(settings.tokens_per_language, read) + min(settings.mean_sentences, text.sentences)
            units += text.sentences * n_units * sum(self._stored(job.model))
            tokens += rows * (shape.n_layers + 1) * shape.hidden * STORED[settings.state_type]
        most = max(self._text(lang).sentences for lang in job.parts)
        scores = 0.0 if study.keep_activations else len(job.parts) * self._score_bytes(job.model)
        written = tokens + (units if study.keep_activations else scores)
        one = self._load(job.model) + computing + written / self.rates.disk + _LANGUAGE * len(job.parts)
        threads = 1
        if not study.keep_activations:
            # On a GPU units are scored beside the model, by as many cores as keep up with it.
            if self.gpu:
                threads = max(1, min(self.max_threads, math.ceil(scoring / max(computing, 1))))
            one = max(one, scoring / threads) if self.gpu else one + scoring
        seconds = _START["torch"] + len(job.steps) * one
        mapped = study.models[job.model].stored_type == settings.compute_dtype
        memory: float = sizes.extraction_memory(config, settings, n_sentences=most, mapped=mapped)
        if not study.keep_activations:
            pooled = max(map(len, settings.passes)) * n_units
            part = min(4 * pooled * self._at_once(most), PART_BYTES)
            memory += (2 if self.gpu and self._at_once(most) < most else 1) * part
            memory += self._scoring_memory(job.model, most, threads)
        kept = tokens + (units if study.keep_activations else 0) + (scores if study.keep_scores else 0)
        return Cost(
            seconds,
            self._host(job.model, memory),
            kept=len(job.steps) * kept,
            temporary=0.0 if study.keep_scores else len(job.steps) * scores,
            beside=threads if self.gpu else 0,
        )

    def _stored(self, run_id: str) -> list[int]:
        """Bytes of a pooled unit, of each pooling."""
        settings = self._settings(run_id)
        return [STORED[settings.unit_type(pooling)] for pooling in settings.poolings]

    def _at_once(self, sentences: int) -> int:
        """Sentences that are scored together: those of a concept, where each brings its own, else all."""
        own = self.study.concepts.source == "files"
        return max(1, sentences // self._n_concepts) if own else sentences

    def _scoring(self, run_id: str, sentences: int) -> float:
        """Seconds of a core: every unit's values are sorted, and walked down once for all concepts."""
        n_units, at_once = self.study.n_units(run_id), self._at_once(sentences)
        walk = _WALK_ONE if at_once < sentences else _WALK_MANY
        seconds = n_units * sentences * (_SORT * math.log2(at_once + 1) + walk)
        return seconds + n_units * self._n_concepts * _SCORE

    def _scoring_memory(self, run_id: str, sentences: int, threads: int) -> float:
        at_once, block = (
            self._at_once(sentences),
            min(self.study.experts.block_units, self.study.n_units(run_id)),
        )
        concepts = self._n_concepts if at_once == sentences else 1
        widest = self._widest(run_id)
        # Keys of a block; of a layer and site what was found, before it is written.
        return threads * block * (12 * at_once + 32 * concepts) + 2 * 28 * widest * concepts

    def score(self, job: JobCells) -> Cost:
        """The same from what was written."""
        n_units = self.study.n_units(job.model)
        stored = self._stored(job.model)
        seconds, memory, most = 0.0, 0.0, 0
        for lang in job.parts:
            n = self._text(lang).sentences
            seconds += len(stored) * self._scoring(job.model, n)
            seconds += (n_units * n * sum(stored) + self._score_bytes(job.model)) / self.rates.disk
            most = max(most, n)
        seconds = _START["numba"] + len(job.steps) * seconds
        threads = max(1, min(self.max_threads, math.ceil(seconds / _LONG)))
        widest = self._widest(job.model)
        memory = self._scoring_memory(job.model, most, threads) + 2 * max(stored) * widest * most
        scores = len(job.steps) * len(job.parts) * self._score_bytes(job.model)
        keep = self.study.keep_scores
        return Cost(
            seconds,
            _SCIENCE_MEMORY + memory,
            threads=threads,
            kept=scores if keep else 0.0,
            temporary=0.0 if keep else scores,
        )

    def rank(self, job: JobCells) -> Cost:
        """Reads the scores of all languages, keeps the best; searches all units, with a null."""
        languages, concepts = len(self.study.languages), self._n_concepts
        n_units = self.study.n_units(job.model)
        kept = min(self.study.experts.kept, n_units)
        values = n_units * concepts * languages
        seconds = values * (_RANK + _SEARCH) + 3 * self._score_width * values / self.rates.disk
        seconds += languages * concepts * kept * (languages * 1e-8 + 1e-6)
        # For choices: two of three subsets, and fewer pairings than the study's own search has.
        seconds += len(self.study.extraction.poolings) * values * (_RANK * 2 / 3 + _SEARCH * 0.3)
        places = self.study.models[job.model].n_layers * len(self.study.extraction.sites)
        subsets = 5 if self._knows_words else 3
        seconds += languages * places * (_PLACE + subsets * concepts * _TOP)
        lists = languages * concepts * kept
        size = lists * (self._best_width + languages * _ABROAD_BYTES) + 16.0 * n_units * languages
        size += self._choices(job.model)
        widest = self._widest(job.model)
        return Cost(
            _START["science"] + len(job.steps) * seconds,
            _SCIENCE_MEMORY
            + 2 * 32 * subsets * lists
            + languages * lists * _ABROAD_BYTES
            + 16 * widest * concepts,
            kept=len(job.steps) * size,
        )

    def compare(self, job: JobCells) -> Cost:
        """The overlap of every choice, from the best units that were kept."""
        study, languages, concepts = self.study, len(self.study.languages), self._n_concepts
        n_sites = len(study.extraction.sites)
        n_choices = len(study.extraction.poolings) * 3 * (1 + n_sites * (n_sites > 1))
        shared = 8.0 * (languages * concepts) ** 2
        each = shared * 2e-9 + 2 * CHOICE_DRAWS * (languages**2 + concepts) * 1e-8 + 1e-2
        return Cost(
            _START["science"] + len(job.steps) * n_choices * each,
            _SCIENCE_MEMORY + 5 * shared + 2 * self._choices(job.model) / len(study.languages),
            kept=len(job.steps) * n_choices * CHOICE_DRAWS * 12.0,
        )

    def _choices(self, run_id: str) -> float:
        """Bytes of what is kept of a step for choices: numbers of units on two halves."""
        kept = min(self.study.experts.kept, self.study.n_units(run_id))
        n_sites = 2 if len(self.study.extraction.sites) > 1 else 1
        lists = len(self.study.languages) * self._n_concepts * kept
        return len(self.study.extraction.poolings) * n_sites * lists * _NUMBER_BYTES

    def align(self, job: JobCells) -> Cost:
        """Pairs of languages in every layer, with their resamples and permutations."""
        languages, concepts = len(self.study.languages), self._n_concepts
        experts = self.study.n_experts(job.model) * concepts * languages
        pairs = languages * (languages - 1) / 2
        layers = self.study.models[job.model].n_layers * len(self.study.extraction.sites)
        draws = self.study.experts.bootstrap + self.study.experts.permutations
        kept = self.rank(job).kept
        seconds = pairs * (layers + 2) * _ALIGN_PAIR + experts * languages * 2e-7
        seconds += (layers + 2) * draws * (languages**2 + concepts) * 1e-8
        shared = 8.0 * (languages * concepts) ** 2  # what every two sets of experts share
        seconds += (
            (layers + 2) * shared * 2e-9 + experts * 3e-6 + self.study.experts.permutations * experts * 1e-8
        )
        return Cost(
            _START["science"] + len(job.steps) * seconds + kept / self.rates.disk,
            _SCIENCE_MEMORY + 600 * experts + 5 * shared + 2 * kept / max(1, len(job.steps)) / languages,
            kept=len(job.steps) * (pairs * concepts * 200 + experts * 50 + (layers + 2) * draws * 12),
        )

    def trace(self, job: JobCells) -> Cost:
        """Reads the experts and the best units of every step."""
        languages, steps = len(self.study.languages), len(self.study.models[job.model].steps)
        cells = languages * steps
        experts = self.study.n_experts(job.model) * self._n_concepts
        rows = min(experts * languages, self.study.experts.max_traced_units) * cells
        best = min(self.study.experts.kept, self.study.n_units(job.model)) * self._n_concepts
        return Cost(
            _START["science"] + cells * (0.02 + best * 3e-7) + experts * cells * 1e-7,
            _SCIENCE_MEMORY + 60 * rows + 16 * experts * languages + 40 * best,
            kept=20 * rows,
        )

    def choose(self, job: JobCells) -> Cost:
        """A pass over the sentences of each language at one step."""
        seconds = self._load(job.model) + sum(
            self._measuring(job.model, lang) for lang in self.study.languages
        )
        rows = self.study.traces.max_units * self.study.traces.sentences * len(self.study.languages)
        return Cost(_START["torch"] + seconds, self._tracing_memory(job.model), kept=4 * rows)

    def trace_tokens(self, job: JobCells) -> Cost:
        """The same at each step, of which the units at every token of a few sentences are kept."""
        one, kept, traces = self._load(job.model), 0.0, self.study.traces
        for lang in self.study.languages:
            one += self._measuring(job.model, lang)
            kept += traces.max_units * traces.sentences * (_TRACE_BYTES + 4 * self._text(lang).tokens)
        rows = traces.max_units * traces.sentences * len(self.study.languages)
        seconds = len(job.steps) * (one + rows * _TRACE)
        memory = self._tracing_memory(job.model) + 2 * 3 * len(job.steps) * kept
        return Cost(_START["torch"] + seconds, memory, kept=len(job.steps) * kept)

    def _tracing_memory(self, run_id: str) -> float:
        memory = sizes.tracing_memory(self._config(run_id), self._settings(run_id))
        return self._host(run_id, memory)

    def probe(self, job: JobCells) -> Cost:
        """A fit per seed, layer and step."""
        probes, languages = self.study.probes, len(self.study.languages)
        rows = (probes.tokens_per_language or self.study.extraction.tokens_per_language) * languages
        width = dimensions(self._config(job.model)).hidden
        fit = rows * width * languages * _PROBE_FLOPS * probes.max_iter / self.rates.cpu_flops
        one = probes.seeds * (0.05 + fit) + rows * width**2 * 4 / self.rates.cpu_flops
        return Cost(
            _START["science"] + len(job.steps) * len(job.parts) * one,
            _SCIENCE_MEMORY + 6 * 8 * rows * width,
            kept=len(job.steps) * len(job.parts) * 4000,
        )

    def audit(self, job: JobCells) -> Cost:
        """Hashes the weights, and a forward pass over the held-out sentences; an encoder has no loss."""
        config, settings = self._config(job.model), self._settings(job.model)
        texts = [self._text(lang) for lang in self.study.languages]
        read = sum(min(self.study.audit.sentences, text.sentences) * text.tokens for text in texts)
        hashing = sizes.weight_bytes(config, "float32") / 400e6
        if is_encoder(config):
            memory = (
                sizes.RUNTIME + sizes.largest_tensor(config) + sizes.tokenizer_memory(config) + ENGINE_MEMORY
            )
            return Cost(_START["torch"] + len(job.steps) * hashing, memory, kept=len(job.steps) * 4e5)
        # Every position meets the head too, and its outputs are large.
        forward = 4 * n_parameters(config, active=True) * read / self._flops()
        seconds = len(job.steps) * (self._load(job.model) + hashing + forward + 0.02 * len(texts))
        memory = sizes.loss_memory(
            config, settings.model_copy(update={"sites": ()})
        )  # it loads no dictionary
        return Cost(_START["torch"] + seconds, self._host(job.model, memory), kept=len(job.steps) * 4e5)

    def generate(self, job: JobCells) -> Cost:
        """A pass for each new token of every text, and one over sentences of each language."""
        config, settings = self._config(job.model), self._settings(job.model)
        generation = self.study.generation
        wanted = len(self.study.generation_concepts) * len(generation.languages)
        samples = generation.samples * generation.seeds
        # Experts, random units at their medians and at the experts' dose; unforced once a language.
        texts = samples * (3 * wanted + len(generation.languages))
        batches = (3 * wanted + len(generation.languages)) * math.ceil(samples / generation.batch_size)
        shape = dimensions(config)
        new = generation.max_new_tokens
        # One pass for each new token, which meets the head too; small models pay for the calls.
        operations = 2 * n_parameters(config, active=True) * texts * new
        seconds = self._computing(operations, batches * new * shape.n_layers * 12)
        seconds += sum(self._measuring(job.model, lang) for lang in generation.languages)
        seconds = len(job.steps) * (seconds + self._load(job.model))
        memory = sizes.generation_memory(config, settings)
        kept = len(job.steps) * texts * 60
        return Cost(_START["torch"] + seconds, self._host(job.model, memory), kept)

    def _measuring(self, run_id: str, lang: str) -> float:
        """Seconds for what random units do over the sentences of a language: as extraction, nothing kept."""
        config, settings, text = self._config(run_id), self._settings(run_id), self._text(lang)
        read = text.sentences * text.tokens
        calls = math.ceil(text.sentences / settings.batch_size) * dimensions(config).n_layers
        if is_padded(settings.poolings[:1]):
            read = text.sentences * settings.max_length
        seconds = self._computing(2 * self._body(run_id) * read, calls * (2 + len(settings.sites)))
        n_units = self.study.n_units(run_id)
        return seconds + read * n_units * (_POOL_GPU if self.gpu else _POOL)

    def identify(self, job: JobCells) -> Cost:
        """Texts against the profiles of the study's languages."""
        generation = self.study.generation
        texts = generation.samples * generation.seeds * len(generation.languages)
        texts *= 3 * len(self.study.generation_concepts) + 1
        seconds = len(job.steps) * texts * len(self.study.languages) * 2e-5
        models = 30_000_000 * len(self.study.languages)
        return Cost(_START["plain"] + seconds, _PLAIN_MEMORY + models, kept=len(job.steps) * texts * 20)

    def pretrain(self, job: JobCells) -> Cost:
        """Forward and backward over what lies between its first and its last step."""
        model = self.study.models[job.model]
        assert isinstance(model, PretrainedModel)
        config, training = self._config(job.model), model.training
        before = self.study.previous_step(job.model, job.steps[0]) or 0
        trained = sum(later - earlier for earlier, later in pairwise((before, *job.steps)))
        tokens = trained * training.batch_size * training.sequence_length
        shape = dimensions(config)
        calls = trained * training.accumulation * shape.n_layers * 40
        seconds = self._computing(6 * n_parameters(config, active=True) * tokens, calls)
        weights = sizes.weight_bytes(config, "float32")
        seconds += len(job.steps) * (1.5 + 3 * weights / self.rates.disk)
        positions = training.batch_size // training.accumulation * training.sequence_length
        return Cost(
            _START["torch"] + seconds,
            self._host(job.model, sizes.training_memory(config, positions=positions), copies=5),
            kept=(len(job.steps) + 2) * weights,  # the last step with the optimizer's two moments
        )

    def fetch(self, job: JobCells) -> Cost:
        """The weights over the network."""
        config = self._config(job.model)
        stored = self.study.models[job.model].stored_type or "float32"
        size = sizes.weight_bytes(config, stored) + 5e6
        seconds = len(job.steps) * size / self.rates.network
        total = len(job.steps) * size
        kept = total if self.study.keep_checkpoints else 0.0
        return Cost(_START["plain"] + seconds, kept=kept, temporary=total - kept, download=total)

    def initialise(self, job: JobCells) -> Cost:
        """Reads weights and writes as many."""
        size = sizes.weight_bytes(self._config(job.model), "float32")
        memory = sizes.RUNTIME + 2 * size + ENGINE_MEMORY
        return Cost(_START["torch"] + 3 * size / self.rates.disk, memory, kept=size)

    def tokenizer(self, _: JobCells) -> Cost:
        """Reads the corpora."""
        size = sum(self._corpus_bytes(name) for name in self.study.corpora)
        return Cost(_START["plain"] + size / 5e6, _PLAIN_MEMORY + 2 * min(size, 2e9), kept=5e6)

    def tokenize(self, _: JobCells) -> Cost:
        """Reads the corpora, writes their subwords."""
        size = sum(self._corpus_bytes(name) for name in self.study.corpora)
        return Cost(_START["plain"] + size / 2e6, _PLAIN_MEMORY + 1e9, kept=size)

    def _corpus_bytes(self, name: str) -> float:
        corpus = self.study.corpora[name]
        if corpus.source == "grammar":
            return corpus.documents * 60.0
        if corpus.source == "text":
            places = [Path(self.study.corpus_path(name, lang)) for lang in corpus.languages]
            return float(sum(place.stat().st_size for place in places if place.exists()))
        return 0.0  # a data set is opened by its job

    def corpus(self, job: JobCells) -> Cost:
        """Writes a language of a corpus."""
        corpora = self.study.corpora
        size = sum(self._corpus_bytes(name) / len(corpora[name].languages) for name in corpora)
        return Cost(_START["plain"] + size / 3e6, _PLAIN_MEMORY + 100e6, kept=1.2 * size)

    def prepare(self, job: JobCells) -> Cost:
        """Reads the sentences of a language."""
        lines = max(text.sentences for text in map(self._text, self.study.languages))
        return Cost(_START["plain"] + lines * 5e-5, _PLAIN_MEMORY + 2000 * lines, kept=120 * lines)

    def collect(self, job: JobCells) -> Cost:
        """Reads a small table of every cell."""
        cells = sum(len(model.steps) for model in self.study.models.values())
        languages = len(self.study.languages)
        rows = cells * self._n_concepts * languages * (languages - 1) / 2
        seconds = _START["plain"] + cells * languages * 0.02 + rows * 2e-6
        kept = 20 * rows if job.stage == "collect_alignment" else 1e5
        return Cost(seconds, _PLAIN_MEMORY + 400 * rows, kept)

    def collect_text(self, job: JobCells) -> Cost:
        """Reads a small table of every language, and identifies the languages of its sentences."""
        cost, languages = self.collect(job), len(self.study.languages)
        lines = sum(min(self._text(lang).sentences, 2000) for lang in self.study.languages)
        seconds = cost.seconds + 0.6 * languages + 1.2e-3 * lines
        return replace(cost, seconds=seconds, memory=cost.memory + 30_000_000 * languages)

    def onset(self, _: JobCells) -> Cost:
        """Reads the experts of every step, and resamples curves of every pair of languages."""
        study, seconds, most = self.study, _START["science"], 0.0
        languages = len(study.languages)
        pairs = languages * (languages - 1) / 2
        for name, model in study.models.items():
            experts = 6 * study.n_experts(name) * self._n_concepts * languages * len(model.steps)
            draws = study.experts.bootstrap + study.experts.permutations
            seconds += 2e-6 * experts + 4e-8 * pairs * draws * len(model.steps) ** 2
            seconds += 1e-7 * (languages * self._n_concepts) ** 2 * len(model.steps)
            most = max(most, 400 * experts, 8 * (languages * self._n_concepts) ** 2 * len(model.steps))
        return Cost(seconds, _SCIENCE_MEMORY + most, 60 * pairs * self._n_concepts * len(study.models))

    def left_out(self, _: JobCells) -> Cost:
        """Reads the best units of some steps, one at a time, and chooses among them for each split."""
        study, languages, seconds, most = self.study, len(self.study.languages), _START["science"], 0.0
        for name in study.models:
            steps = len(study.viewed_steps(name))
            best = min(study.experts.kept, study.n_units(name)) * self._n_concepts * languages
            seconds += steps * (0.03 * languages + 1e-6 * best * languages)
            most = max(most, 8 * 4 * best * languages + 16 * study.n_units(name) * languages)
        return Cost(seconds, _SCIENCE_MEMORY + most, 1e5)

    def compare_states(self, _: JobCells) -> Cost:
        """Reads sentence means of some steps, and multiplies kernels of all languages at every layer."""
        study, languages, seconds = self.study, len(self.study.languages), _START["science"]
        n = min(study.extraction.mean_sentences, 300)
        pairs = languages * (languages - 1) / 2
        for name, model in study.models.items():
            layers = len(study.viewed_steps(name)) * (model.n_layers + 1)
            seconds += layers * (0.003 * languages + n**2 * (5e-7 * languages + 1e-8 * pairs))
        return Cost(seconds, _SCIENCE_MEMORY + 40 * languages * n**2, 100 * pairs)

    def language_units(self, job: JobCells) -> Cost:
        """A pass over some sentences of each language at each step, whose units are sorted all together."""
        study, settings = self.study, self._settings(job.model)
        n = sum(min(200, self._text(lang).sentences) for lang in study.languages)
        share = n / max(1, sum(self._text(lang).sentences for lang in study.languages))
        one = self._load(job.model) + self._scoring(job.model, n)
        one += 2 * share * sum(self._measuring(job.model, lang) for lang in study.languages)
        held = n * study.n_units(job.model) * STORED[settings.unit_type(settings.poolings[0])]
        scores = 6 * 8 * len(study.languages) * study.n_units(job.model)
        memory = self._host(job.model, sizes.tracing_memory(self._config(job.model), settings))
        return Cost(_START["torch"] + len(job.steps) * one, memory + 1.2 * held + scores, kept=1e5)

    def confounds(self, _: JobCells) -> Cost:
        """Reads the experts of every step, cuts sentences, and fits small classifiers of every concept."""
        study, onset = self.study, self.onset(JobCells("measure_onset"))
        languages, cells = len(study.languages), len(study.languages) * self._n_concepts
        lines = sum(self._text(lang).sentences for lang in study.languages)
        trained = sum(isinstance(model, PretrainedModel) for model in study.models.values())
        seconds = len(study.models) * (1e-4 * lines + 8 * cells * (2e-3 + 2e-6 * lines / languages))
        seconds += trained * languages * 4  # a million characters of text each
        for model in study.models.values():
            seconds += len(model.steps) * (languages + self._n_concepts + 0.1 * languages) * 2e-3
        return replace(onset, seconds=onset.seconds + seconds, memory=onset.memory + 2000 * lines, kept=1e5)

    def ablate(self, job: JobCells) -> Cost:
        """A pass over each language's sentences; over those of a concept one per source and kind of unit."""
        study, config, settings = self.study, self._config(job.model), self._settings(job.model)
        languages, concepts = study.languages, len(study.ablated_concepts)
        passes = len(languages) * concepts * (4 * len(languages) + 1)
        tokens = sum(self._text(lang).tokens for lang in languages) / len(languages)
        read = passes * study.views.ablated_sentences * tokens
        calls = passes * dimensions(config).n_layers * (12 + 8 * len(settings.sites))
        one = self._load(job.model) + self._computing(2 * n_parameters(config) * read, calls)
        one += sum(self._measuring(job.model, lang) for lang in languages)
        memory = max(sizes.loss_memory(config, settings), sizes.tracing_memory(config, settings))
        memory += 8 * (3 * concepts + 4) * study.n_units(job.model)
        kept = 8 * len(job.steps) * passes
        return Cost(_START["torch"] + len(job.steps) * one, self._host(job.model, memory), kept)

    def patch(self, job: JobCells) -> Cost:
        """A pass over each language's sentences; for two languages and concepts 7 patches and controls."""
        study, config, settings = self.study, self._config(job.model), self._settings(job.model)
        languages, concepts = study.languages, len(study.patched_concepts)
        passes = len(languages) ** 2 * concepts * 15
        tokens = sum(self._text(lang).tokens for lang in languages) / len(languages)
        inputs = study.views.patched_sentences * _INPUTS
        calls = passes * dimensions(config).n_layers * (12 + 8 * len(settings.sites))
        read = passes * inputs * tokens
        one = self._load(job.model) + self._computing(2 * n_parameters(config) * read, calls)
        one += passes * 1e-3 * study.views.patched_sentences  # words are cut into tokens
        one += sum(self._measuring(job.model, lang) for lang in languages)
        memory = max(sizes.loss_memory(config, settings), sizes.tracing_memory(config, settings))
        units = 2 * concepts * study.n_experts(job.model) * len(languages)
        memory += 8 * len(languages) * concepts * study.views.patched_sentences * units
        return Cost(_START["torch"] + len(job.steps) * one, self._host(job.model, memory), 60 * passes)

    def export(self, job: JobCells) -> Cost:
        """Reads all that there is of a checkpoint; of a study of one checkpoint everything."""
        every = JobCells("rank_units", job.model, job.steps, tuple(self.study.languages))
        seconds = _START["plain"] + (self.rank(every).kept + self._weights(job.model)) / self.rates.disk
        return Cost(seconds, kept=2e7)

    def plot(self, job: JobCells) -> Cost:
        """Reads collected tables and draws the figures, or writes the page."""
        cells = sum(len(model.steps) for model in self.study.models.values())
        rows = cells * self._n_concepts * len(self.study.languages) ** 2 / 2
        figures = len(job.parts)
        seconds = _START["science"] + 3 + figures + cells * 0.05 + rows * 1e-6
        return Cost(seconds, 2 * _PLAIN_MEMORY + 500 * rows, kept=2.7e5 * figures if figures else 5e6)


# Fitted constants; docs/cost.md shows how well.
#: Seconds of a call into torch from Python, on a small tensor.
_CALL = 6e-5
#: Seconds for pooling, checking and writing one activation.
_POOL, _POOL_GPU = 1.2e-9, 2e-11
#: Seconds for sorting one value of a unit, per doubling of the sentences that are sorted together; for making
#: its key and walking past it, for one concept and for many; for what a unit and concept take by themselves.
_SORT, _WALK_ONE, _WALK_MANY, _SCORE = 6e-10, 8e-9, 14e-9, 2e-8
#: Seconds for bringing one pooled value to the host and to its place.
_TO_HOST = 1.5e-9
#: Seconds for ranking one unit and concept of a language, on three subsets; for its part in the search.
_RANK, _SEARCH = 3e-8, 6e-8
#: Seconds for reading a layer and site of a language again and again; for the best of one concept there.
_PLACE, _TOP = 3e-3, 1e-4
#: A job that takes longer than this many seconds of a core gets another core, where it may have several.
_LONG = 1800
#: Seconds of a language that do not depend on the model: its sentences are read, tokenized and batched.
_LANGUAGE = 0.1
#: Seconds for one pair of languages in one layer.
_ALIGN_PAIR = 1.5e-3
#: Inputs of a sentence that is patched: words of several tokens have some of their own.
_INPUTS = 4
#: Seconds for what is kept of one sentence of a traced unit; its bytes, packed, beside those of its tokens.
_TRACE, _TRACE_BYTES = 3e-4, 70
#: Operations of a probe on one number of its input, per class and iteration.
_PROBE_FLOPS = 4.0


@cache
def _size_and_sentences(path: Path) -> tuple[int, int]:
    """Bytes of a file and its sentences: lines, or what the lists of a JSON file hold."""
    content = path.read_bytes()
    if path.suffix != ".json":
        return len(content), content.count(b"\n")
    lists = json.loads(content)["sentences"].values()
    return len(content), sum(len(sentences) for sentences in lists)
