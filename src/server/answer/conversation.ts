import type { ChatTemplateInputs } from '../../engine/chat/chat-options.ts';
import type { GenerateOptions } from '../../engine/sample/sampling-params.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { AnswerForm } from '../../text/parsers/answer-parser.ts';
import type { ServedModel } from './served-model.ts';

/** A conversation that waits for its answer, whichever API it came by. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Tools, and what else the chat template gets. */
  readonly inputs: ChatTemplateInputs;
  readonly options: GenerateOptions;
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
  { messages, inputs, options }: Conversation,
  signal: AbortSignal,
): Promise<AskedAnswer> {
  const plan = model.chatFormat.plan(inputs);
  const prompt = await model.encodeChat(messages, plan.template, signal);
  return { prompt, form: plan.form(prompt), options: plan.generate(options, prompt) };
}
