import type { Context } from 'hono';
import type { ServedModel } from '../answer/served-model.ts';
import { templateMessages } from '../wire/chat-message.ts';
import { badRequest } from '../wire/http-error.ts';

/** `POST /tokenize` */
export function tokenize(model: ServedModel) {
  return async (c: Context): Promise<Response> => {
    const { model: name, prompt, messages, ...options } = await model.bodies.read(c, 'tokenize');
    model.assertName(name);
    if ((prompt === undefined) === (messages === undefined)) {
      throw badRequest("Give either 'prompt' or 'messages'.", 'prompt', 'invalid_value');
    }
    const input =
      messages === undefined
        ? model.textInput(prompt ?? '', options.add_special_tokens ?? true)
        : model.chatInput(templateMessages(messages), options.add_generation_prompt);
    const { count, ids, tokenTexts } = await model.list(input, options.return_token_strs ?? false, c.req.raw.signal);
    const head = `{"count":${count},"max_model_len":${model.limits.maxModelLen},"tokens":`;
    return json(c, [head, ids, ',"token_strs":', tokenTexts ?? 'null', '}']);
  };
}

/** `POST /detokenize` */
export function detokenize(model: ServedModel) {
  return async (c: Context): Promise<Response> => {
    const { model: name, tokens } = await model.bodies.read(c, 'detokenize');
    model.assertName(name);
    return json(c, ['{"prompt":', await model.decodeAll(tokens, c.req.raw.signal), '}']);
  };
}

/** An answer of which the large parts were written as JSON elsewhere: doing so here would keep all others waiting. */
async function json(c: Context, parts: readonly (string | Uint8Array<ArrayBuffer>)[]): Promise<Response> {
  const body = await new Blob([...parts]).arrayBuffer();
  return c.body(body, 200, { 'content-type': 'application/json' });
}
