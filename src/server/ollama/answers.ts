import type { Context } from 'hono';
import { TokenTexts } from '../../text/token-texts.ts';
import { answer } from '../answer/answer.ts';
import { type AskedAnswer, askedAnswer } from '../answer/conversation.ts';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';
import { badRequest } from '../wire/http-error.ts';
import { type AnswerKind, answerLine, lineHead } from './answer-line.ts';
import { OllamaWriter } from './answer-writer.ts';
import { chatConversation, promptConversation, toOptions } from './conversation.ts';
import type { OllamaAnswerRequest, OllamaGenerateRequest } from './wire/requests.ts';

/** `POST /api/chat` */
export function chat(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'ollamaChat');
    model.assertName(body.model);
    if (!body.messages?.length) return loaded(c, model, body, 'chat');
    const asked = await askedAnswer(model, chatConversation(body), c.req.raw.signal);
    return answerAs(c, model, body, 'chat', asked);
  };
}

/** `POST /api/generate` */
export function generate(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'ollamaGenerate');
    model.assertName(body.model);
    if (!body.prompt) return loaded(c, model, body, 'generate');
    const isText = body.raw || !model.hasChatTemplate;
    const asked = isText
      ? await askedText(model, body, c.req.raw.signal)
      : await askedAnswer(model, promptConversation(body), c.req.raw.signal);
    return answerAs(c, model, body, 'generate', asked);
  };
}

/** A prompt that is continued as it is. */
async function askedText(model: ServedModel, body: OllamaGenerateRequest, signal: AbortSignal): Promise<AskedAnswer> {
  const { prompt = '', system } = body;
  if (system !== undefined) {
    const why = body.raw ? "'raw' continues the prompt as it is" : 'the model has no chat template';
    throw badRequest(`'system' can't be given: ${why}. Write it into the prompt.`, 'system', 'invalid_value');
  }
  const options = toOptions(body);
  return { prompt: await model.encode(prompt, { addSpecialTokens: true }, signal), form: {}, options };
}

/** What clients ask for to have the model loaded, or unloaded: here it is, and stays. */
function loaded(c: Context, model: ServedModel, { model: name, keep_alive }: OllamaAnswerRequest, kind: AnswerKind) {
  const done_reason = keep_alive === 0 ? 'unload' : 'load';
  return c.json(answerLine(lineHead(name ?? model.name), kind, { text: '' }, { done: true, done_reason }));
}

async function answerAs(
  c: Context<ServerEnv>,
  model: ServedModel,
  body: OllamaAnswerRequest,
  kind: AnswerKind,
  { prompt, form, options }: AskedAnswer,
): Promise<Response> {
  const { num_predict: most = -1 } = body.options ?? {};
  const { skipSpecialTokens } = options;
  const writer = new OllamaWriter({
    kind,
    model: body.model ?? model.name,
    form,
    topLogprobs: options.logprobs,
    newTexts: () => new TokenTexts(model.llm.tokenizer, { prompt, skipSpecialTokens }),
    record: c.get('record'),
  });
  const maxTokens = most > 0 ? model.fittingTokens(prompt.length, most) : undefined;
  const isStream = body.stream ?? true;
  return answer(c, model, { idPrefix: 'ollama-', prompts: [prompt], options, maxTokens, isStream }, writer);
}
