"""Encoders of the family table."""

from __future__ import annotations

from family_rows import CONTEXT, DEPTH, VOCAB, Row

_SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 21,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": CONTEXT,
}
_NARROW = {**_SIZES, "embedding_size": 13}


def heads(family: str, **others: dict[str, object]) -> dict[str, dict[str, object]]:
    """The variants that every encoder has."""
    return {
        "classify": {"architecture": f"{family}ForSequenceClassification", "num_labels": 3},
        "score": {"architecture": f"{family}ForSequenceClassification", "num_labels": 1},
        "tag": {"architecture": f"{family}ForTokenClassification", "num_labels": 5},
        "span": {"architecture": f"{family}ForQuestionAnswering"},
        "choice": {"architecture": f"{family}ForMultipleChoice"},
        **others,
    }


ALBERT = Row(
    model_type="albert",
    architecture="AlbertForMaskedLM",
    kind="encoder",
    config={**_NARROW, "num_hidden_layers": 3},
    variants=heads("Albert", pool={"architecture": "AlbertModel"}, groups={"num_hidden_groups": 2}),
)
BERT = Row(
    model_type="bert",
    architecture="BertForMaskedLM",
    kind="encoder",
    config=_SIZES,
    variants=heads(
        "Bert",
        pool={"architecture": "BertModel"},
        relu={"hidden_act": "relu"},
        follows={"architecture": "BertForNextSentencePrediction"},
    ),
)
BIG_BIRD = Row(
    model_type="big_bird",
    architecture="BigBirdForMaskedLM",
    kind="encoder",
    # By blocks it depends on the batch in the reference, so that part has a test of its own.
    config={**_SIZES, "attention_type": "original_full"},
    variants={
        key: value
        for key, value in heads(
            "BigBird",
            pool={"architecture": "BigBirdModel"},
            scaled={"rescale_embeddings": True, "use_bias": False, "hidden_act": "relu"},
        ).items()
        if key != "span"
    },
    unused=("bert.pooler",),
)
_DEBERTA = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
}
DEBERTA = Row(
    model_type="deberta-v2",
    architecture="DebertaV2ForMaskedLM",
    kind="encoder",
    config={**_SIZES, **_DEBERTA, "position_buckets": 6, "norm_rel_ebd": "layer_norm"},
    variants=heads(
        "DebertaV2",
        plain={"position_buckets": -1, "norm_rel_ebd": "none", "max_relative_positions": 7},
        absolute={"position_biased_input": True, "type_vocab_size": 2, "max_relative_positions": 11},
        pool={"architecture": "DebertaV2Model"},
        unrelated={
            "relative_attention": False,
            "position_biased_input": True,
            "pos_att_type": None,
            "share_att_key": False,
            "position_buckets": -1,
            "norm_rel_ebd": "none",
        },
        nowhere={"relative_attention": False, "pos_att_type": ["c2p"], "norm_rel_ebd": "none"},
        apart={"share_att_key": False, "pos_att_type": ["c2p", "p2c"]},
        asked={"share_att_key": False, "pos_att_type": ["c2p"]},
        asking={"pos_att_type": ["p2c"], "position_buckets": -1},
        convolved={"conv_kernel_size": 3, "conv_groups": 3, "conv_act": "gelu"},
        wide={"conv_kernel_size": 5, "type_vocab_size": 2},
        newer={"legacy": False},
    ),
)
DISTILBERT = Row(
    model_type="distilbert",
    architecture="DistilBertForMaskedLM",
    kind="encoder",
    config={
        "vocab_size": VOCAB,
        "dim": 21,
        "n_layers": DEPTH,
        "n_heads": 3,
        "hidden_dim": 17,
        "max_position_embeddings": CONTEXT,
    },
    variants=heads("DistilBert", pool={"architecture": "DistilBertModel"}),
)
ELECTRA = Row(
    model_type="electra",
    architecture="ElectraForPreTraining",
    kind="encoder",
    config=_NARROW,
    variants=heads(
        "Electra",
        language={"architecture": "ElectraForMaskedLM"},
        wide={"architecture": "ElectraForMaskedLM", "embedding_size": 21},
        pool={"architecture": "ElectraModel"},
    ),
)
LONGFORMER = Row(
    model_type="longformer",
    architecture="LongformerForMaskedLM",
    kind="encoder",
    config={**_SIZES, "max_position_embeddings": 2 * CONTEXT + 2, "type_vocab_size": 1, "attention_window": [4, 8]},
    variants={key: value for key, value in heads("Longformer").items() if key in ("classify", "score", "tag")}
    | {"pool": {"architecture": "LongformerModel"}},
    pad=1,
)
MODERNBERT = Row(
    model_type="modernbert",
    architecture="ModernBertForMaskedLM",
    kind="encoder",
    config={**_SIZES, "hidden_size": 18, "num_hidden_layers": 4, "local_attention": 6, "pad_token_id": 0}
    | {"bos_token_id": None, "eos_token_id": None, "cls_token_id": None, "sep_token_id": None},
    variants=heads(
        "ModernBert",
        biases=dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True)
        | {"decoder_bias": False},
        mean={
            "architecture": "ModernBertForSequenceClassification",
            "num_labels": 3,
            "classifier_pooling": "mean",
            "classifier_activation": "relu",
        },
        odd={"local_attention": 7, "global_attn_every_n_layers": 2, "hidden_activation": "silu"},
        pool={"architecture": "ModernBertModel"},
    ),
)
MPNET = Row(
    model_type="mpnet",
    architecture="MPNetForMaskedLM",
    kind="encoder",
    config={**_SIZES, "max_position_embeddings": CONTEXT + 2},
    variants=heads("MPNet", pool={"architecture": "MPNetModel"}),
    pad=1,
)
NYSTROMFORMER = Row(
    model_type="nystromformer",
    architecture="NystromformerForMaskedLM",
    kind="encoder",
    # Through landmarks, and with a convolution wider than a token, the reference lets padding in: tested by themselves.
    config={**_SIZES, "num_landmarks": 7, "segment_means_seq_len": 7, "conv_kernel_size": 1},
    variants=heads("Nystromformer", pool={"architecture": "NystromformerModel"}, relu={"hidden_act": "relu"}),
    pad=1,
)
ROBERTA = Row(
    model_type="roberta",
    architecture="RobertaForMaskedLM",
    kind="encoder",
    config={**_SIZES, "max_position_embeddings": CONTEXT + 2, "type_vocab_size": 1},
    variants=heads(
        "Roberta",
        pool={"architecture": "RobertaModel"},
        pad={"pad_token_id": 2, "max_position_embeddings": CONTEXT + 3},
    ),
    pad=1,
)
XLM_ROBERTA = Row(
    model_type="xlm-roberta",
    architecture="XLMRobertaForMaskedLM",
    kind="encoder",
    config=ROBERTA.config,
    variants=heads("XLMRoberta", pool={"architecture": "XLMRobertaModel"}),
    pad=1,
)

ROWS = (
    ALBERT,
    BERT,
    BIG_BIRD,
    DEBERTA,
    DISTILBERT,
    ELECTRA,
    LONGFORMER,
    MODERNBERT,
    MPNET,
    NYSTROMFORMER,
    ROBERTA,
    XLM_ROBERTA,
)
