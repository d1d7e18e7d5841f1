import { badRequest } from './http-error.ts';

/**
 * Fields of other servers that are not supported here, with a hint. A request that uses one is refused, because without
 * the field the answer would not be what was asked for.
 */
const UNSUPPORTED: ReadonlyMap<string, string> = new Map([
  ['suffix', 'The model only continues texts.'],
  ['best_of', "Use 'n', and choose by 'logprobs'."],
  ['logits_processors', 'Functions work in the process only: llm.generate takes logitsProcessors.'],
  ['use_beam_search', 'Answers are sampled one token at a time.'],
  ['prompt_logprobs', 'Use /v1/completions or /v1/chat/completions.'],
  ['truncate_prompt_tokens', "Give 'truncation', or use /v1/completions or /v1/chat/completions."],
  ['tools', 'Use /v1/chat/completions.'],
  ['tool_choice', 'Use /v1/chat/completions.'],
  ['functions', "Give 'tools'."],
  ['function_call', "Give 'tool_choice'."],
  ['container', 'Leave it out.'],
  ['fallbacks', 'There is one model.'],
  ['compaction', 'Shorten the conversation before it is sent.'],
  ['mcp_servers', "Give 'tools'."],
  ['audio', 'Text is all there is.'],
  ['prediction', 'Leave it out.'],
  ['web_search_options', 'Leave it out.'],
  ['images', 'Text is all there is.'],
  ['context', 'Send the conversation to /api/chat.'],
  ['template', "The server's owner sets it."],
  ['chat_template', 'Use /v1/chat/completions.'],
  ['chat_template_kwargs', 'Use /v1/chat/completions.'],
  ['documents', 'Use /v1/chat/completions.'],
  ['echo', 'Use /v1/completions.'],
  ['prompt', 'Use /v1/completions.'],
  ['messages', 'Use /v1/chat/completions.'],
  ['input', 'Use /v1/responses.'],
  ['previous_response_id', "Responses are not stored: send the whole conversation as 'input'."],
  ['conversation', "Conversations are not stored: send the whole one as 'input'."],
  ['background', 'Responses are not stored: the answer comes with this request.'],
  ['context_management', "Give 'truncation'."],
  ['moderation', 'Leave it out.'],
  ['no_stop_trim', "Use 'include_stop_str_in_output'."],
  ['return_hidden_states', 'Answers have texts, tokens and logprobs only.'],
  ['lora_path', 'There are no adapters.'],
  ['session_params', 'Send the whole conversation.'],
  ['regex', "Use 'structured_outputs'."],
  ['ebnf', "Use 'structured_outputs'."],
]);

/** Fields that routers of SGLang's family send, the value that says what the server does in any case, and a hint. */
const FIXED: ReadonlyMap<string, readonly [value: unknown, hint: string]> = new Map([
  ['separate_reasoning', [true, 'The server splits off thoughts unless it is started with --reasoning-parser none.']],
  ['stream_reasoning', [true, 'Thoughts are streamed as they come.']],
]);

/** Values with which a field says nothing. */
const NOTHING = new Set<unknown>(['none', 'auto', false]);

/**
 * A body without unsupported fields that are turned off.
 * @param known the fields that its form has.
 * @throws HttpError about an unsupported field that asks for something.
 */
export function withoutUnsupported(
  body: Readonly<Record<string, unknown>>,
  known: readonly string[],
): Record<string, unknown> {
  const entries = Object.entries(body).filter(([name, value]) => {
    if (name === 'best_of' && value === (body.n ?? 1)) return false;
    if (name === 'modalities') return !isTextOnly(value);
    const fixed = FIXED.get(name);
    if (fixed && value === fixed[0]) return false;
    const hint = fixed?.[1] ?? (known.includes(name) ? undefined : UNSUPPORTED.get(name));
    if (hint === undefined) return true;
    if (!fixed && NOTHING.has(value)) return false;
    throw badRequest(`'${name}' is not supported. ${hint}`, name, 'unsupported_parameter');
  });
  return Object.fromEntries(entries);
}

function isTextOnly(modalities: unknown): boolean {
  if (Array.isArray(modalities) && modalities.length === 1 && modalities[0] === 'text') return true;
  throw badRequest("'modalities' may be ['text'] only.", 'modalities', 'unsupported_parameter');
}
