import { randomUUID } from 'node:crypto';
import type { Context } from 'hono';
import type { GenerateOptions, SamplingParams } from '../../engine/sample/sampling-params.ts';
import { cacheSaltOf } from '../request/cache-salt.ts';
import type { ServerEnv } from '../request/env.ts';
import { badRequest, type HttpError, toHttpError, unlessGone } from '../wire/http-error.ts';
import type { Usage } from '../wire/usage.ts';
import { answerBytes } from './answer-memory.ts';
import { eventStream } from './event-stream.ts';
import { Generation, type GenerationOutput } from './generation.ts';
import { jsonResponse } from './json-response.ts';
import type { ServedModel } from './served-model.ts';
import type { StreamForm } from './stream-form.ts';

/** A request for answers. */
export interface AnswerRequest {
  /** Beginning of the answer's id, such as `chatcmpl-`. */
  readonly idPrefix: string;
  readonly prompts: readonly (readonly number[])[];
  readonly options: GenerateOptions;
  /** Tokens to generate at most; 0 looks at the prompt only; undefined: all that fit. */
  readonly maxTokens: number | undefined;
  /** Whether the answer is sent while it grows. */
  readonly isStream: boolean;
}

/** Fields at the head of every answer. */
export interface AnswerHead {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

/** An answer that is sent while it grows. */
export interface GrowingAnswer {
  readonly head: AnswerHead;
  outputs(): AsyncIterable<GenerationOutput>;
  /** Tokens so far. */
  usage(): Usage;
}

/** Writer of answers in the form of one API. */
export interface AnswerWriter {
  /** How the events of a stream are written. */
  readonly streamForm: StreamForm;
  /** The events of a growing answer. */
  events(answer: GrowingAnswer): AsyncIterator<object>;
  /** The last events of a stream that an error has broken off. */
  failure(error: HttpError): Iterable<object>;
  /** Adds an output to the collected answer. */
  add(output: GenerationOutput): void;
  /** The collected answer; lists that may be long are made when they are written. */
  whole(head: AnswerHead, usage: Usage): object;
}

/** Starts generating, and answers as the request says: with events, or with the whole answer at the end. */
export async function answer(
  c: Context<ServerEnv>,
  model: ServedModel,
  request: AnswerRequest,
  writer: AnswerWriter,
): Promise<Response> {
  const record = c.get('record');
  const { prompts, options, isStream } = request;
  const { signal } = c.req.raw;
  model.assertPriority(options.priority);
  const head: AnswerHead = {
    id: `${request.idPrefix}${record.id}`,
    created: Math.floor(Date.now() / 1000),
    model: model.name,
  };
  const params = resolve(model, request);
  const badWordsTokenIds = await model.encodeBadWords(params[0].badWords, signal);
  const generating = params.find(({ maxTokens }) => maxTokens > 0);
  const grammar = generating && (await model.llm.compileGrammar(generating, signal));
  const { maxUnreadTokens } = model.llm.engine;
  const release = model.memory.reserve(answerBytes({ prompts, params, isStream, maxUnreadTokens }));
  let generation: Generation;
  try {
    // A client may give the same id to several requests at once.
    const id = `${head.id}-${randomUUID()}`;
    const { priority } = options;
    const cacheSalt = cacheSaltOf(c.get('tenant'), options.cacheSalt);
    const shared = { badWordsTokenIds, grammar, priority, cacheSalt, signal };
    generation = new Generation(model.llm, { id, prompts, params, ...shared });
  } catch (error) {
    release();
    throw error;
  }
  const finish = (error?: unknown) => {
    generation.cancel();
    release();
    const failure = error === undefined ? undefined : toHttpError(unlessGone(error, signal));
    record.add({ usage: generation.usage(), finishReason: generation.finishReason, error: failure });
    if (record.isOpen) record.end();
  };
  if (isStream) {
    record.keepOpen();
    record.add({ stream: true });
    const pace = model.pace.open();
    const growing = { head, outputs: () => pace.paced(generation.outputs()), usage: () => generation.usage() };
    return eventStream(writer.events(growing), writer, (error) => {
      pace.close();
      finish(error);
    });
  }
  try {
    for await (const output of generation.outputs()) writer.add(output);
  } catch (error) {
    release();
    record.add({ usage: generation.usage(), finishReason: generation.finishReason });
    throw unlessGone(error, signal);
  }
  const onOpen = () => record.keepOpen();
  return jsonResponse(writer.whole(head, generation.usage()), { onOpen, onEnd: finish });
}

/** Parameters of each prompt: the tokens that are left for an answer depend on the prompt's length. */
function resolve(model: ServedModel, { prompts, options, maxTokens }: AnswerRequest): SamplingParams[] {
  assertFewAnswers(model, prompts.length, options.n ?? 1);
  let first: SamplingParams | undefined;
  return prompts.map(({ length }) => {
    const tokens = model.answerTokens(length, maxTokens);
    // The engine takes 0 too, but as an option it is refused, since there it is usually a mistake.
    const params = model.llm.resolveSamplingParams({
      ...options,
      allowedTokenIds: first ? undefined : options.allowedTokenIds,
      maxTokens: tokens === 0 ? 1 : tokens,
    });
    model.assertModest(params);
    first ??= params;
    // One object for all prompts, of which there may be many.
    const { stop, badWords, allowedTokenIds } = first;
    return { ...params, stop, badWords, allowedTokenIds, maxTokens: tokens };
  });
}

function assertFewAnswers({ limits }: ServedModel, prompts: number, n: number): void {
  const answers = prompts * n;
  if (answers <= limits.maxAnswers) return;
  const message = `${prompts} prompts with n = ${n} are ${answers} answers; this server takes ${limits.maxAnswers}.`;
  throw badRequest(message, 'n', 'too_many');
}
