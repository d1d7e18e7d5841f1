import { StructuredOutputsError } from '../../errors.ts';
import { ANY_OBJECT, jsonSchemaGrammar } from './json-schema.ts';
import { safeGrammar } from './safe-grammar.ts';
import { choiceGrammar, regexGrammar, structuralTagText } from './structural-tag.ts';
import { parsedForm, type StructuredOutputs } from './structured-outputs.ts';

/** Characters of a schema, grammar or list of choices at most: a model's whole context is seldom longer. */
const MAX_CHARACTERS = 2 ** 20;

/** A form as XGrammar takes it. */
export interface GrammarSource {
  readonly type: 'ebnf' | 'structural_tag';
  readonly text: string;
  /** Whether it was written by a user, and may be malformed in ways that only XGrammar knows. */
  readonly isForeign: boolean;
}

/** @throws StructuredOutputsError about what is malformed or not supported. */
export function grammarSource(form: StructuredOutputs): GrammarSource {
  const { json, jsonObject, regex, choice, grammar, structuralTag } = form;
  const own = (text: string): GrammarSource => ({ type: 'ebnf', text: safeGrammar(text), isForeign: false });
  if (json !== undefined) return own(jsonSchemaGrammar(parsedForm(json, 'schema')));
  if (jsonObject !== undefined) return own(jsonSchemaGrammar(ANY_OBJECT));
  if (regex !== undefined) return own(regexGrammar(regex));
  if (choice !== undefined) return own(choiceGrammar(choice));
  if (structuralTag !== undefined) {
    return {
      type: 'structural_tag',
      text: structuralTagText(parsedForm(structuralTag, 'structural tag')),
      isForeign: true,
    };
  }
  return { type: 'ebnf', text: safeGrammar(grammar ?? ''), isForeign: true };
}

/** A form's text, which is the same for equal forms. @throws StructuredOutputsError where it is too long. */
export function formKey(form: StructuredOutputs): string {
  const key = JSON.stringify(form);
  if (key.length <= MAX_CHARACTERS) return key;
  throw new StructuredOutputsError(
    `structuredOutputs has ${key.length} characters; expected at most ${MAX_CHARACTERS}.`,
    'Make the schema or grammar smaller.',
  );
}
