/** Templates that can be had by name where a model brings none, or another one is wanted. */
export const NAMED_TEMPLATES: Readonly<Record<string, string>> = {
  /** For models that were not trained on conversations: what was said is one text, and the answer goes on from its end. */
  completion: [
    '{#- completion: the messages are one text, and the model continues it. -#}',
    '{{- bos_token }}',
    '{%- for message in messages %}',
    "  {%- if message.role != 'assistant' and not loop.first %}{{- '\\n' }}{% endif %}",
    '  {{- message.content }}',
    '{%- endfor %}',
  ].join('\n'),
  /** https://github.com/openai/openai-python/blob/v0.28.1/chatml.md */
  chatml: [
    '{%- for message in messages %}',
    "  {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}",
    '{%- endfor %}',
    '{%- if add_generation_prompt %}',
    "  {{- '<|im_start|>assistant\\n' }}",
    '{%- endif %}',
  ].join('\n'),
};
