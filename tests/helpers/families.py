"""Model families in small: each one's own architecture, control tokens and chat template, with random weights and a
small vocabulary.

Templates are those that TRL carries; where it has none (`WRITTEN`) a short one that writes what the family's own
writes.
"""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = [
    "Who are you? I am a small model.",
    "What is 3 + 4? The answer is 7.",
    "Look it up: the harbour of Rome has 12 ships.",
    "<|im_end|> [INST] < | > _ end start",
] * 9

CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|fim_prefix|>", "<|file_sep|>"]
THINK = ["<think>", "</think>"]
DEEPSEEK = [
    "<｜User｜>",
    "<｜Assistant｜>",
    *(
        f"<｜tool▁{what}｜>"
        for what in (
            "calls▁begin calls▁end call▁begin call▁end sep outputs▁begin outputs▁end output▁begin output▁end".split()
        )
    ),
    *THINK,
]

WRITTEN = {
    "smollm2": (
        """{%- if messages[0].role != 'system' %}\
{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}\
{% endif -%}
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}"""
    ),
    "smollm2_tools": (ROOT / "recipes" / "smollm2-135m" / "chat_template.jinja").read_text(encoding="utf-8"),
    "smollm3": (
        """{{- '<|im_start|>system\n' -}}{%- if tools %}{% for tool in tools %}{{ tool | tojson + '\n' }}\
{% endfor %}{% endif %}{{- '<|im_end|>\n' -}}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{{- '<|im_start|>assistant\n' -}}{%- generation -%}
{%- if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n' }}{% endif -%}\
{{- m.content or '' -}}
{%- for call in m.tool_calls or [] %}{{ '<tool_call>' + {'name': call.function.name, 'arguments': \
call.function.arguments} | tojson + '</tool_call>' }}{% endfor -%}
{{- '<|im_end|>' -}}{%- endgeneration -%}{{- '\n' -}}
{%- else %}{{ '<|im_start|>' + ('user' if m.role == 'tool' else m.role) + '\n' + m.content + '<|im_end|>\n' }}\
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}"""
    ),
    "olmo": (
        """{{ bos_token }}{%- for m in messages -%}
{{- '<|' + m.role + '|>\n' + m.content -}}{%- if m.role == 'assistant' %}{{ eos_token }}{% endif -%}\
{%- if not loop.last or m.role != 'assistant' %}{{ '\n' }}{% endif -%}
{%- endfor -%}{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif -%}"""
    ),
    "phi4": (
        """{%- for m in messages -%}
{{- '<|' + m.role + '|>' + (m.content or '') -}}
{%- if m.tool_calls -%}{{- '<|tool_call|>[' -}}{%- for call in m.tool_calls %}{{ call.function | tojson }}\
{% if not loop.last %}, {% endif %}{% endfor %}{{- ']<|/tool_call|>' -}}{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}"""
    ),
    "mistral": (
        """{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}
{%- if tools and loop.last %}{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif -%}\
{{- '[INST]' + m.content + '[/INST]' -}}
{%- elif m.role == 'assistant' and m.tool_calls -%}
{{- '[TOOL_CALLS][' -}}{%- for call in m.tool_calls -%}
{%- if not call.id or call.id | length != 9 %}\
{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif -%}
{{- {'name': call.function.name, 'arguments': call.function.arguments, 'id': call.id} | tojson -}}\
{%- if not loop.last %}, {% endif %}{%- endfor -%}{{- ']' + eos_token -}}
{%- elif m.role == 'assistant' -%}{{- ' ' + m.content | trim + eos_token -}}
{%- elif m.role == 'tool' -%}
{%- if not m.tool_call_id or m.tool_call_id | length != 9 %}\
{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif -%}
{{- '[TOOL_RESULTS]' + {'content': m.content, 'call_id': m.tool_call_id} | tojson + '[/TOOL_RESULTS]' -}}
{%- endif -%}{%- endfor -%}"""
    ),
    "granite": (
        """{%- for m in messages -%}
{{- '<|start_of_role|>' + ('tool_response' if m.role == 'tool' else m.role) + '<|end_of_role|>' + (m.content or '') -}}
{%- if m.tool_calls -%}{{- '<|tool_call|>[' -}}{%- for call in m.tool_calls %}\
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}{% if not loop.last %}, {% endif %}\
{% endfor %}{{- ']' -}}{%- endif -%}
{{- '<|end_of_text|>\n' -}}
{%- endfor -%}{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif -%}"""
    ),
}


@dataclass
class Family:
    """`end`: what ends a reply. `kind`: of tokenizer. `marks`: added tokens that are not special. `learns_thinking`:
    its template keeps what was thought. `rewards`: transformers has a reward model of the architecture."""

    config: str
    template: str
    special: list[str]
    end: str
    marks: list[str] = field(default_factory=list)
    eos: str | None = None
    bos: str | None = None
    pad: str | None = None
    kind: str = "bytes"
    tools: bool = True
    thinks: bool = False
    learns_thinking: bool = True
    rewards: bool = True
    sizes: dict = field(default_factory=dict)
    rstrip: bool = False


FAMILIES = {
    "Llama 3.2": Family(
        "llama",
        "llama3_2",
        [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|finetune_right_pad_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
        ],
        "<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    "Qwen2.5": Family("qwen2", "qwen2_5", CHATML, "<|im_end|>", QWEN, pad="<|endoftext|>"),
    "Qwen3": Family("qwen3", "qwen3", CHATML, "<|im_end|>", QWEN + THINK, pad="<|endoftext|>", thinks=True),
    "Qwen3.6": Family(
        "qwen3_5_text",
        "qwen3_6",
        CHATML,
        "<|im_end|>",
        QWEN + THINK,
        pad="<|endoftext|>",
        thinks=True,
        sizes={
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    "Gemma 3": Family(
        "gemma3_text",
        "gemma3",
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"],
        "<end_of_turn>",
        ["<b>", "</b>"],
        eos="<eos>",
        bos="<bos>",
        pad="<pad>",
        kind="gemma",
        tools=False,
    ),
    "Phi-3": Family(
        "phi3",
        "phi3",
        ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"],
        "<|end|>",
        eos="<|endoftext|>",
        bos="<s>",
        pad="<|endoftext|>",
        kind="llama2",
        tools=False,
        rstrip=True,
    ),
    "Phi-4 mini": Family(
        "phi3",
        "phi4",
        [
            "<|endoftext|>",
            "<|assistant|>",
            "<|system|>",
            "<|end|>",
            "<|user|>",
            "<|tool|>",
            "<|tool_call|>",
            "<|/tool_call|>",
        ],
        "<|end|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
    ),
    "Mistral 0.3": Family(
        "mistral",
        "mistral",
        [
            "<unk>",
            "<s>",
            "</s>",
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ],
        "</s>",
        bos="<s>",
        kind="llama2",
    ),
    "SmolLM2": Family(
        "llama",
        "smollm2",
        [*CHATML, "<repo_name>", "<filename>"],
        "<|im_end|>",
        bos="<|im_start|>",
        pad="<|im_end|>",
        tools=False,
    ),
    "SmolLM2, our template": Family(
        "llama",
        "smollm2_tools",
        [*CHATML, "<repo_name>", "<filename>"],
        "<|im_end|>",
        bos="<|im_start|>",
        pad="<|im_end|>",
    ),
    "SmolLM3": Family("smollm3", "smollm3", CHATML, "<|im_end|>", QWEN[:4] + THINK, pad="<|im_end|>", thinks=True),
    "OLMo 2": Family(
        "olmo2",
        "olmo",
        ["<|endoftext|>", "<|pad|>"],
        "<|endoftext|>",
        ["|||EMAIL_ADDRESS|||"],
        bos="<|endoftext|>",
        pad="<|pad|>",
        tools=False,
    ),
    "OLMo 3": Family(
        "olmo3",
        "olmo",
        ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"],
        "<|endoftext|>",
        bos="<|endoftext|>",
        pad="<|pad|>",
        tools=False,
    ),
    "gpt-oss": Family(
        "gpt_oss",
        "gptoss",
        [
            "<|startoftext|>",
            "<|endoftext|>",
            "<|return|>",
            "<|constrain|>",
            "<|channel|>",
            "<|start|>",
            "<|end|>",
            "<|message|>",
            "<|call|>",
        ],
        "<|return|>",
        bos="<|startoftext|>",
        pad="<|endoftext|>",
        thinks=True,
        sizes={"num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "DeepSeek V3": Family(
        "deepseek_v3",
        "deepseekv3",
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"],
        "<｜end▁of▁sentence｜>",
        DEEPSEEK,
        bos="<｜begin▁of▁sentence｜>",
        pad="<｜▁pad▁｜>",
        sizes={
            "n_routed_experts": 2,
            "num_experts_per_tok": 1,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 16,
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "first_k_dense_replace": 1,
        },
    ),
    "DeepSeek R1 distil": Family(
        "qwen2",
        "deepseek_r1_distill",
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"],
        "<｜end▁of▁sentence｜>",
        DEEPSEEK,
        bos="<｜begin▁of▁sentence｜>",
        pad="<｜end▁of▁sentence｜>",
        tools=False,
        thinks=True,
        learns_thinking=False,
    ),
    "GLM-4 MoE": Family(
        "glm4_moe",
        "glm4moe",
        ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
        "<|user|>",
        [*QWEN[:4], *THINK, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "/nothink"],
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        thinks=True,
        sizes={
            "n_routed_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
        },
        rewards=False,
    ),
    "Granite 3": Family(
        "granite",
        "granite",
        ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>", "<fim_pad>"],
        "<|end_of_text|>",
        bos="<|end_of_text|>",
        pad="<|end_of_text|>",
        rewards=False,
    ),
    "LFM2.5": Family(
        "lfm2",
        "lfm2_2_5",
        [
            "<|pad|>",
            "<|startoftext|>",
            "<|endoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            *(
                f"<|tool_{w}|>"
                for w in ("list_start", "list_end", "call_start", "call_end", "response_start", "response_end")
            ),
        ],
        "<|im_end|>",
        THINK,
        bos="<|startoftext|>",
        pad="<|pad|>",
        thinks=True,
        sizes={"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
        rewards=False,
    ),
    "Nemotron 3": Family(
        "nemotron_h",
        "nemotron_3_nano",
        ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        "<|im_end|>",
        [*QWEN[:4], *THINK],
        bos="<s>",
        pad="</s>",
        thinks=True,
        sizes={
            "layers_block_type": ["mamba", "attention"],
            "mamba_num_heads": 4,
            "mamba_head_dim": 8,
            "n_groups": 1,
            "ssm_state_size": 8,
            "num_experts": 2,
        },
        rewards=False,
    ),
}


@functools.cache
def _base(kind: str) -> str:
    """The JSON of a small tokenizer of a kind: byte-level BPE, BPE as in Llama 2 and in Gemma, or Unigram as in T5."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    pieces = [chr(i) for i in range(32, 127)] + ["▁", "\n"]
    if kind == "bytes":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=300, initial_alphabet=pieces, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        )
    else:
        made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        steps = [normalizers.Prepend("▁")] if kind == "llama2" else []
        made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        made.decoder = decoders.Sequence([*back, *([decoders.Strip(" ", 1, 0)] if steps else [])])
        names = ["<unk>", *(f"<0x{i:02X}>" for i in range(256))]
        trainer = trainers.BpeTrainer(
            vocab_size=500, initial_alphabet=pieces, special_tokens=names, show_progress=False
        )
    made.train_from_iterator(CORPUS, trainer)
    state = json.loads(made.to_str())
    state["added_tokens"] = []  # bytes are none, and the family names its own
    return json.dumps(state)


def tokenizer_of(family: Family):
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer.from_str(_base(family.kind))
    made.add_special_tokens(
        [AddedToken(t, normalized=False, special=True, rstrip=family.rstrip and "|" in t) for t in family.special]
    )
    made.add_tokens([AddedToken(t, normalized=False, special=False) for t in family.marks])
    unk = {"unk_token": "<unk>"} if "<unk>" in family.special else {}
    names = {"eos_token": family.eos or family.end, "bos_token": family.bos, "pad_token": family.pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, clean_up_tokenization_spaces=False, model_max_length=2048, **names, **unk
    )
    tokenizer.chat_template = template_of(family)
    return tokenizer


def template_of(family: Family) -> str:
    if family.template in WRITTEN:
        return WRITTEN[family.template]
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{family.template}.jinja").read_text(encoding="utf-8")


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}


def config_of(family: Family, tokenizer):
    from transformers import AutoConfig

    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes = SIZES | family.sizes
    if "layers_block_type" in sizes:
        del sizes["num_hidden_layers"]
    if family.config == "deepseek_v3":
        del sizes["head_dim"]
    return AutoConfig.for_model(family.config, vocab_size=len(tokenizer), num_labels=1, **ids, **sizes)
