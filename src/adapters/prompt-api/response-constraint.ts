import type { JsonObject } from '../../checkpoint/json/json-parser.ts';
import type { StructuredOutputs } from '../../grammar/forms/structured-outputs.ts';
import type { ChatMessage } from '../../text/chat/chat-message.ts';
import type { LanguageModelPromptOptions } from './prompts.ts';

type Constraint = Pick<LanguageModelPromptOptions, 'responseConstraint' | 'omitResponseConstraintInput'>;

/** The form that a prompt's answer must have. @throws TypeError */
export function formOf({ responseConstraint, omitResponseConstraintInput }: Constraint): StructuredOutputs | undefined {
  if (responseConstraint === undefined || responseConstraint === null) {
    if (omitResponseConstraintInput) throw new TypeError('omitResponseConstraintInput needs a responseConstraint.');
    return undefined;
  }
  if (responseConstraint instanceof RegExp) return { regex: responseConstraint.source };
  if (typeof responseConstraint === 'object' && !Array.isArray(responseConstraint)) {
    return { json: responseConstraint as JsonObject };
  }
  throw new TypeError('responseConstraint is neither a RegExp nor a JSON Schema.');
}

/** Messages that tell the model about the form: the user's last one says it at its end. */
export function withForm(
  messages: readonly ChatMessage[],
  form: StructuredOutputs | undefined,
  { omitResponseConstraintInput = false }: Constraint,
): readonly ChatMessage[] {
  const last = messages.findLastIndex(({ role }) => role === 'user');
  if (!form || omitResponseConstraintInput || last < 0) return messages;
  const words =
    form.regex === undefined
      ? `Answer with JSON that fits this JSON Schema: ${JSON.stringify(form.json)}`
      : `Answer with a text that matches this regular expression: ${form.regex}`;
  return messages.with(last, { ...messages[last], content: `${messages[last].content}\n\n${words}` });
}
