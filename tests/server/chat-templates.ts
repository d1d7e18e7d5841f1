/** A template that writes tools, calls, results and thoughts, and whose calls are those of Hermes. */
export const TOOL_TEMPLATE = [
  '{%- for t in tools or [] %}<tool>{{ t.function.name }} {{ t | tojson }}</tool>{% endfor %}',
  '{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}',
  '{%- for c in m.tool_calls or [] %}<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</tool_call>{% endfor %}',
  '{%- if m.tool_call_id %} for {{ m.tool_call_id }}{% endif %}\n',
  '{%- endfor %}',
  "{%- if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined %}{{ '<think>\\n' if enable_thinking else '<think></think>' }}{% endif %}{% endif %}",
  "{%- if documents %}{{ documents[0].text }}{% endif %}{{ reasoning_effort or '' }}",
].join('');
