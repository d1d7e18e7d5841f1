/**
 * Chat templates in the manner of the families of models that call tools: their markers, and the constructs of the
 * language that their published templates are made of. Each is shorter than what it stands for.
 */
export const FAMILIES: Readonly<Record<string, string>> = {
  /** Granite 4: results of tools are the user's, one after another; the system's text is put together first. */
  granite4: `{%- set ns = namespace(system='', results=[]) %}
{%- if messages and messages[0].role == 'system' %}{%- set ns.system = messages[0].content %}{%- endif %}
{%- if tools %}
    {%- set ns.system = ns.system ~ '\\n\\nTools:\\n<tools>' %}
    {%- for tool in tools %}{%- set ns.system = ns.system ~ '\\n' ~ (tool | tojson) %}{%- endfor %}
    {%- set ns.system = ns.system ~ '\\n</tools>' %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' ~ ns.system ~ '<|end_of_text|>\\n' }}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|start_of_role|>user<|end_of_role|>' ~ m.content ~ '<|end_of_text|>\\n' }}
    {%- elif m.role == 'assistant' %}
        {{- '<|start_of_role|>assistant<|end_of_role|>' ~ (m.content or '') }}
        {%- for call in m.tool_calls or [] %}
            {%- if m.content or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- set call = call.function or call %}
            {{- '<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|end_of_text|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|start_of_role|>user<|end_of_role|>' }}{%- endif %}
        {{- '\\n<tool_response>\\n' ~ m.content ~ '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|end_of_text|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}`,

  /** Nemotron 3: calls as XML, whose values are Python's texts; thoughts of earlier turns are left out. */
  nemotron3: `{%- macro other_keys(object, known) %}
    {%- for key in object if key not in known %}
        {{- '\\n<' ~ key ~ '>' ~ (object[key] | tojson if object[key] is mapping or (object[key] is iterable and object[key] is not string) else object[key] | string) ~ '</' ~ key ~ '>' }}
    {%- endfor %}
{%- endmacro %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{{- '<|im_start|>system\\n' ~ (messages[0].content if messages[0].role == 'system' else '') }}
{%- for tool in tools or [] %}
    {%- set f = tool.function %}
    {{- '\\n<function>\\n<name>' ~ f.name ~ '</name>' }}
    {%- if f.description is defined %}{{- '\\n<description>' ~ f.description.strip() ~ '</description>' }}{%- endif %}
    {%- for name, field in (f.parameters.properties | default({})) | items %}
        {{- '\\n<parameter>\\n<name>' ~ name ~ '</name>\\n<type>' ~ field.type | string ~ '</type>' }}
        {{- other_keys(field, ['type', 'name']) ~ '\\n</parameter>' }}
    {%- endfor %}
    {{- other_keys(f.parameters, ['type', 'properties']) ~ '\\n</function>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- for m in messages if m.role != 'system' %}
    {%- if m.role == 'assistant' %}
        {%- set content = (m.content or '') | trim %}
        {%- set thoughts = m.reasoning_content | default('') | trim %}
        {%- if '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n<think>' ~ ('\\n' ~ thoughts ~ '\\n' if loop.index0 > ns.last and thoughts) ~ '</think>' ~ content }}
        {%- for call in m.tool_calls or [] %}
            {{- '\\n<tool_call>\\n<function=' ~ call.function.name ~ '>' }}
            {%- for name, value in call.function.arguments | items %}
                {%- set value = value | tojson | safe if value is mapping or (value is sequence and value is not string) else value | string %}
                {{- '\\n<parameter=' ~ name ~ '>\\n' ~ value ~ '\\n</parameter>' }}
            {%- endfor %}
            {{- '\\n</function>\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.previtem and loop.previtem.role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' ~ m.content ~ '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- else %}
        {{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>' ~ ('</think>' if enable_thinking is defined and not enable_thinking else '\\n') }}{%- endif %}`,

  /** Nemotron Nano 2: one list of calls, one list of results. */
  nemotron_nano2: `{{- bos_token ~ '<SPECIAL_10>System\\n' }}
{%- for m in messages %}{%- if m.role == 'system' %}{{- m.content.replace('/think', '').replace('/no_think', '').strip() }}{%- endif %}{%- endfor %}
{%- if tools %}{{- '\\n<AVAILABLE_TOOLS>[' }}{%- for tool in tools %}{{- (tool.function if tool.function is defined else tool) | tojson ~ (', ' if not loop.last else '') }}{%- endfor %}{{- ']</AVAILABLE_TOOLS>' }}{%- endif %}
{{- '\\n\\n' }}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<SPECIAL_11>User\\n' ~ m.content.strip() ~ '\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<SPECIAL_11>User\\n<TOOL_RESPONSE>[' }}{%- endif %}
        {{- m.content }}
        {{- ', ' if not loop.last and messages[loop.index0 + 1].role == 'tool' else ']</TOOL_RESPONSE>\\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set content = m.content or '' %}
        {%- if '</think>' in content %}{%- set content = content.split('</think>')[1] %}{%- endif %}
        {{- '<SPECIAL_11>Assistant\\n' ~ content.strip() }}
        {%- if m.tool_calls %}
            {{- '\\n<TOOLCALL>[' if content.strip() else '<TOOLCALL>[' }}
            {%- for call in m.tool_calls %}
                {{- '{"name": "' + call.function.name + '", "arguments": ' }}
                {%- if call.function.arguments is string %}{{- call.function.arguments }}{%- else %}{{- call.function.arguments | tojson }}{%- endif %}
                {{- '}' ~ (', ' if not loop.last) }}
            {%- endfor %}
            {{- ']</TOOLCALL>' }}
        {%- endif %}
        {{- '\\n<SPECIAL_12>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<SPECIAL_11>Assistant\\n' ~ ('<think></think>' if enable_thinking is defined and enable_thinking is false else '<think>\\n') }}{%- endif %}`,

  /** Falcon-H1: ChatML, with arguments first. */
  falcon_h1: `{{- bos_token }}
{%- if tools %}
    {{- '<|im_start|>system\\n' + (messages[0].content + '\\n' if messages[0].role == 'system' else '') + '<tools>[' }}
    {%- for tool in tools %}{{- tool.function | tojson }}{{ ', ' if not loop.last }}{%- endfor %}
    {{- ']</tools>\\nAnswer with <tool_call>\\n{"arguments": <args-dict>, "name": <function-name>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] != 'system' or not tools %}
{%- if message['role'] == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.tool_calls %}
{{- '<|im_start|>assistant\\n' + (message.content if message.content else '') }}
{%- for call in message.tool_calls %}
{{- '<tool_call>\\n' + {'arguments': call.function.arguments, 'name': call.function.name} | tojson + '\\n</tool_call>' }}{{ '\\n' if not loop.last }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`,

  /** Zamba2: every message alike; it knows no tools. */
  zamba2: `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}`,

  /** Mistral and Codestral: roles are checked, tools come with the last question, results have ids of nine characters. */
  mistral: `{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}
{%- set user_messages = turns | selectattr('role', 'equalto', 'user') | list %}
{%- set ns = namespace(index=0) %}
{%- for m in turns %}
    {%- if not (m.role == 'tool' or m.role == 'tool_results' or (m.tool_calls is defined and m.tool_calls is not none)) %}
        {%- if (m['role'] == 'user') != (ns.index % 2 == 0) %}{{- raise_exception('user and assistant must alternate') }}{%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {%- if tools and m == user_messages[-1] %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.function.items() if key != 'return' %}
                    {%- if value is string %}{{- '"' + key + '": "' + value + '"' }}{%- else %}{{- '"' + key + '": ' + value | tojson }}{%- endif %}
                    {{- ', ' if not loop.last else '}}' }}
                {%- endfor %}
                {{- ', ' if not loop.last else ']' }}
            {%- endfor %}
            {{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {%- if loop.last and messages[0]['role'] == 'system' %}{{- '[INST] ' + messages[0]['content'] + '\\n\\n' + m.content + '[/INST]' }}
        {%- else %}{{- '[INST] ' + m.content + '[/INST]' }}{%- endif %}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in m.tool_calls %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] }}
            {%- if call.id is not defined or call.id | length != 9 %}{{- raise_exception('ids have 9 characters') }}{%- endif %}
            {{- ', "id": "' + call.id + '"}' + (', ' if not loop.last else ']' + eos_token) }}
        {%- endfor %}
    {%- elif m.role == 'assistant' %}{{- ' ' + m.content | trim + eos_token }}
    {%- elif m.role == 'tool' %}
        {%- set content = m.content.content if m.content is mapping and m.content.content is defined else m.content %}
        {{- '[TOOL_RESULTS] {"content": ' + content | string + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('unknown role ' + m.role) }}{%- endif %}
{%- endfor %}`,

  /** Hermes: types of parameters as Python's, by a macro that calls itself; it fails without tools. */
  hermes: `{%- macro python_type(spec) %}
    {%- set names = {'string': 'str', 'number': 'float', 'integer': 'int', 'boolean': 'bool'} %}
    {%- if names[spec.type] is defined %}{{- names[spec.type] }}
    {%- elif spec.type == 'array' %}{{- 'list[' + python_type(spec['items']) + ']' }}
    {%- elif spec.type == 'object' %}{{- 'dict[str, ' + python_type(spec.additionalProperties) + ']' if spec.additionalProperties else 'dict' }}
    {%- elif spec.type is sequence and spec.type is not string %}
        {%- for type in spec.type %}{{- python_type({'type': type}) ~ (' | ' if not loop.last) }}{%- endfor %}
    {%- else %}{{- 'Any' }}{%- endif %}
{%- endmacro %}
{{- bos_token + '<|im_start|>system\\n<tools> ' }}
{%- for tool in tools %}
    {%- set f = tool.function if tool.function is defined else tool %}
    {{- '{"name": "' + f.name + '", "description": "' + f.name + '(' }}
    {%- for name, spec in f.parameters.properties | items %}{{- name + ': ' + python_type(spec) ~ (', ' if not loop.last) }}{%- endfor %}
    {{- ')' + (' - ' + f.description if f.description else '') + '", "parameters": ' + f.parameters | tojson + '}' ~ ('\\n' if not loop.last) }}
{%- endfor %}
{{- ' </tools>\\nAnswer with <tool_call>\\n{"name": <function-name>, "arguments": <args-dict>}\\n</tool_call><|im_end|>\\n' }}
{%- for m in messages %}
    {%- if m.role == 'assistant' and m.tool_calls is defined %}
        {{- '<|im_start|>assistant' }}
        {%- for call in m.tool_calls %}
            {%- set call = call.function if call.function is defined else call %}
            {{- '\\n<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {{- ('<|im_start|>tool\\n' if loop.previtem and loop.previtem.role != 'tool') ~ '<tool_response>\\n' ~ m.content ~ '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' if loop.last or loop.nextitem.role != 'tool' else '\\n' }}
    {%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`,

  /** Qwen 3: looks for the last question backwards, and keeps only the thoughts after it. */
  qwen3: `{%- if tools %}
    {{- '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if messages[0].role == 'system' else '') + '<tools>' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- set ns = namespace(open=true, last=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.open and message.role == 'user' and message.content is string and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.open = false %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}{%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}{{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}{{- content }}{%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or not loop.first %}{{- '\\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\\n{"name": "' ~ call.name ~ '", "arguments": ' ~ (call.arguments if call.arguments is string else call.arguments | tojson) ~ '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' ~ ('<think>\\n\\n</think>\\n\\n' if enable_thinking is defined and enable_thinking is false) }}{%- endif %}`,
};
