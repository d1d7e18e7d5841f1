/** A chat template that writes everything that adapters give it. */
export const TEMPLATE = [
  '{%- for t in tools or [] %}<tool>{{ t.function.name }}</tool>{% endfor %}',
  '{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}',
  '{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}</tool_call>{% endfor %}',
  '{%- endfor %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{# </think> #}',
].join('');

/** A call as a model writes it. */
export const CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Lyon"}}</tool_call>';
