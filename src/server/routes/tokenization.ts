import type { Context } from 'hono';
import { isShownIn, TokenTexts } from '../../text/token-texts.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';
import { badRequest } from '../http-error.ts';
import { readJsonBody } from '../json-body.ts';
import type { ServedModel } from '../served-model.ts';
import { detokenizeRequest, tokenizeRequest } from '../wire/tokenization.ts';
import { plainMessages } from './chat-completions.ts';

/** `POST /tokenize` */
export function tokenize(model: ServedModel) {
  return async (c: Context): Promise<Response> => {
    const {
      model: name,
      prompt,
      messages,
      ...options
    } = await readJsonBody(c, tokenizeRequest, model.limits.maxBodyBytes);
    model.assertName(name);
    if ((prompt === undefined) === (messages === undefined)) {
      throw badRequest("Give either 'prompt' or 'messages'.", 'prompt', 'invalid_value');
    }
    const tokens =
      messages === undefined
        ? model.encodeText(prompt ?? '', options.add_special_tokens ?? true)
        : model.encodeChat(plainMessages(messages), options.add_generation_prompt);
    return c.json({
      count: tokens.length,
      max_model_len: model.limits.maxModelLen,
      tokens,
      token_strs: options.return_token_strs ? tokenStrs(model.tokenizer, tokens, prompt) : null,
    });
  };
}

/** `POST /detokenize` */
export function detokenize(model: ServedModel) {
  return async (c: Context): Promise<Response> => {
    const { model: name, tokens } = await readJsonBody(c, detokenizeRequest, model.limits.maxBodyBytes);
    model.assertName(name);
    const { tokenizer } = model;
    if (tokens.length > 0) model.llm.tokenize(tokens);
    return c.json({ prompt: tokenizer.decode(tokens, { skipSpecialTokens: false }) });
  };
}

/** Each token as it is written in the text; together they are the text. A conversation's text has all its special tokens. */
function tokenStrs(tokenizer: TextTokenizer, tokens: readonly number[], text: string | undefined): string[] {
  const texts = new TokenTexts(tokenizer, { skipSpecialTokens: false });
  return tokens.map((id, i) => {
    const isShown = text === undefined || isShownIn(text, texts.offset, id, tokenizer);
    return texts.next({ id, isShown, isLast: i === tokens.length - 1 }).token;
  });
}
