"""The config of a small study of text that a user brings: parallel sentences, concepts by words."""

TEXT_STUDY = """
study: tiny
languages: [en, de, ru]
corpora:
  web: {source: text, path: "{data}/web/{lang}.txt"}
tokenizers:
  pieces: {corpus: web, vocabulary_size: 400}
models:
  small:
    source: pretrain
    corpus: web
    tokenizer: pieces
    architecture: xglm
    architecture_config: {d_model: 16, num_layers: 2, attention_heads: 2, ffn_dim: 32}
    training: {sequence_length: 16, batch_size: 4, learning_rate: 0.1}
    steps: [0, 4]
sentences: {source: parallel, path: "{data}/dev/{lang}.txt"}
concepts: {source: words, label_language: en, lists: "{data}/words.yaml", min_positive: 5}
extraction: {sites: [mlp_act, mlp_out]}
experts: {k: 4}
generation: {enabled: true}
"""
