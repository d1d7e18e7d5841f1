import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import { type ChatMessage, messageSize } from '../../text/chat/chat-message.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import { HttpError, toHttpError } from '../wire/http-error.ts';
import type { ServedModel, Truncation } from './served-model.ts';

/** A conversation that waits for its answer, whichever API it came by. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Tools, and what else the chat template gets. */
  readonly inputs: ChatTemplateInputs;
  readonly options: GenerateOptions;
  /** Jinja source in place of the model's chat template. */
  readonly chatTemplate?: string | undefined;
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
  { messages, inputs, options, chatTemplate, truncation }: Conversation,
  signal: AbortSignal,
): Promise<AskedAnswer> {
  const plan = model.formatOf(chatTemplate).plan(inputs);
  const prompt = await model.encodeChat(messages, plan.template, signal, { ...truncation, chatTemplate });
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
  const [first = 0, ...later] = messages.flatMap(({ role }, i) => (role === 'user' ? [i] : []));
  const isInstruction = ({ role }: ChatMessage) => role === 'system' || role === 'developer';
  const head = messages.slice(0, first).filter(isInstruction);
  const keptFrom = (begin: number) => (begin === first ? messages : [...head, ...messages.slice(begin)]);
  const askFrom = async (begin: number): Promise<AskedAnswer | HttpError> => {
    try {
      const asked = await askedAnswer(model, { ...conversation, messages: keptFrom(begin) }, signal);
      model.answerTokens(asked.prompt.length, answerTokens);
      return asked;
    } catch (error) {
      const failure = toHttpError(error);
      if (failure.code !== 'context_length_exceeded') throw error;
      return failure;
    }
  };
  const begins = [first, ...later];
  const candidates: number[] = [];
  // Texts that are far too long are not made into tokens to find that out.
  let characters = totalSize(head);
  for (const [i, begin] of [...begins.entries()].reverse()) {
    characters += totalSize(messages.slice(begin, begins[i + 1]));
    if (candidates.length > 0 && characters > model.maxCharacters) break;
    candidates.push(begin);
  }
  candidates.reverse();
  // The longest that fits, by halving; most conversations fit whole.
  const whole = await askFrom(candidates[0]);
  if (!(whole instanceof HttpError)) return whole;
  let [low, high] = [1, candidates.length];
  let best: AskedAnswer | undefined;
  while (low < high) {
    const middle = (low + high) >> 1;
    const asked = await askFrom(candidates[middle]);
    if (asked instanceof HttpError) low = middle + 1;
    else {
      best = asked;
      high = middle;
    }
  }
  if (!best) throw whole;
  return best;
}

function totalSize(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, message) => sum + messageSize(message), 0);
}
