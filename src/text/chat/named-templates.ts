/** Templates that can be selected by name, for models without one or in place of their own. */
export const NAMED_TEMPLATES: Readonly<Record<string, string>> = {
  /**
   * Template of models that were not trained on conversations: the messages are one text, which the answer continues.
   */
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
