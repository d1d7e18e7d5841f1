import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { HttpError, toHttpError } from '../wire/http-error.ts';
import type { ServedModel, Truncation } from './served-model.ts';

/** A conversation that waits for its answer, whichever API it came by. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Tools, and what else the chat template gets. */
  readonly inputs: ChatTemplateInputs;
  readonly options: GenerateOptions;
  /** Default: the prompt keeps all of its tokens. */
  readonly truncation?: Truncation;
}

/** Prompt of an answer, and how it is read. */
export interface AskedAnswer {
  readonly prompt: readonly number[];
  readonly form: AnswerForm;
  /** Options of the generation, so that the answer can be read. */
  readonly options: GenerateOptions;
}

/** The prompt of a conversation. Rejects as `model.encodeChat` does, and with SamplingParamsError about tools. */
export async function askedAnswer(
  model: ServedModel,
  { messages, inputs, options, truncation }: Conversation,
  signal: AbortSignal,
): Promise<AskedAnswer> {
  const plan = model.chatFormat.plan(inputs);
  const prompt = await model.encodeChat(messages, plan.template, signal, truncation);
  return { prompt, form: plan.form(prompt), options: plan.generate(options, prompt) };
}

/**
 * The prompt of a conversation, without its oldest turns where it would be too long: as few of them as must go. A turn
 * is what begins with a message of the user. The system's messages before the first stay, and so does the last turn.
 *
 * @param answerTokens that must be left for the answer.
 */
export async function askedWithoutOldTurns(
  model: ServedModel,
  conversation: Conversation,
  answerTokens: number,
  signal: AbortSignal,
): Promise<AskedAnswer> {
  const { messages } = conversation;
  const turns = messages.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
  const [first = 0, ...later] = turns;
  const begins = [first, ...later];
  const isInstruction = ({ role }: ChatMessage) => role === 'system' || role === 'developer';
  const head = messages.slice(0, first).filter(isInstruction);
  const askFrom = async (begin: number): Promise<AskedAnswer | HttpError> => {
    const kept = begin === first ? messages : [...head, ...messages.slice(begin)];
    try {
      const asked = await askedAnswer(model, { ...conversation, messages: kept }, signal);
      model.answerTokens(asked.prompt.length, answerTokens);
      return asked;
    } catch (error) {
      const failure = toHttpError(error);
      if (failure.code !== 'context_length_exceeded') throw error;
      return failure;
    }
  };
  const whole = await askFrom(first);
  if (!(whole instanceof HttpError)) return whole;
  // The fewest turns to leave out, by halving.
  let [low, high] = [1, begins.length];
  let best: AskedAnswer | undefined;
  while (low < high) {
    const middle = (low + high) >> 1;
    const asked = await askFrom(begins[middle]);
    if (asked instanceof HttpError) low = middle + 1;
    else {
      best = asked;
      high = middle;
    }
  }
  if (!best) throw whole;
  return best;
}
