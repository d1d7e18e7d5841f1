import type { Context } from 'hono';
import { templateOptions } from '../../engine/chat/chat-format.ts';
import { writtenResponse } from '../answer/json-response.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import { templateMessages } from '../wire/chat-message.ts';
import { toTemplateInputs } from '../wire/chat-template-fields.ts';
import { badRequest, toHttpError, unlessGone } from '../wire/http-error.ts';

/** `POST /tokenize` */
export function tokenize(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const { model: name, prompt, messages, ...options } = await model.bodies.read(c, 'tokenize');
    model.assertName(name);
    if ((prompt === undefined) === (messages === undefined)) {
      throw badRequest("Give either 'prompt' or 'messages'.", 'prompt', 'invalid_value');
    }
    const input =
      messages === undefined
        ? model.textInput(prompt ?? '', options.add_special_tokens ?? true)
        : model.chatInput(templateMessages(messages), templateOptions(toTemplateInputs(options)));
    const { count, ids, tokenTexts } = await model.list(input, options.return_token_strs ?? false, c.req.raw.signal);
    const head = `{"count":${count},"max_model_len":${model.limits.maxModelLen},"tokens":`;
    return json(c, model, [head, ids, ',"token_strs":', tokenTexts ?? 'null', '}']);
  };
}

/** `POST /detokenize` */
export function detokenize(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const { model: name, tokens } = await model.bodies.read(c, 'detokenize');
    model.assertName(name);
    return json(c, model, ['{"prompt":', await model.decodeAll(tokens, c.req.raw.signal), '}']);
  };
}

/**
 * Answer with large parts that another thread has written as JSON: doing that here would hold up all other requests.
 * Its memory counts until it is sent: a short request can have an answer a hundred times as long.
 */
function json(
  c: Context<ServerEnv>,
  model: ServedModel,
  parts: readonly (string | Uint8Array<ArrayBuffer>)[],
): Response {
  const encoder = new TextEncoder();
  const encoded = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part));
  const release = model.memory.reserve(encoded.reduce((sum, { length }) => sum + length, 0));
  const record = c.get('record');
  const onEnd = (error?: unknown) => {
    release();
    record.add({ error: error === undefined ? undefined : toHttpError(unlessGone(error, c.req.raw.signal)) });
    if (record.isOpen) record.end();
  };
  return writtenResponse(encoded, { onOpen: () => record.keepOpen(), onEnd });
}
