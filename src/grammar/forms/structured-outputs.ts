import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { SamplingParamsError, StructuredOutputsError } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';

/** Form that an answer must have: exactly one member is given. Names and meanings are vLLM's. */
export interface StructuredOutputs {
  /** JSON that a JSON Schema accepts: the schema as an object, or as its text. */
  readonly json?: JsonObject | string | undefined;
  /** JSON objects of any form. */
  readonly jsonObject?: true | undefined;
  /** Texts that a regular expression matches from end to end. */
  readonly regex?: string | undefined;
  /** One of these texts. */
  readonly choice?: readonly string[] | undefined;
  /** Texts of a grammar in EBNF, whose first rule is `root`. */
  readonly grammar?: string | undefined;
  /** Free text with parts of a given form in it, such as tool calls: XGrammar's structural tag, or its text. */
  readonly structuralTag?: JsonObject | string | undefined;
}

type Kind = keyof StructuredOutputs;

/** Each kind with what its value must be. */
const KINDS: Readonly<Record<Kind, { readonly expected: string; readonly accepts: (value: unknown) => boolean }>> = {
  json: { expected: 'a JSON Schema: an object or its text', accepts: isObjectOrText },
  jsonObject: { expected: 'true', accepts: (value) => value === true },
  regex: { expected: 'a regular expression as text', accepts: isText },
  choice: {
    expected: 'at least one text',
    accepts: (value) => Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string'),
  },
  grammar: { expected: 'a grammar in EBNF as text', accepts: isText },
  structuralTag: { expected: 'a structural tag: an object or its text', accepts: isObjectOrText },
};

/** @throws SamplingParamsError unless exactly one form is given, with a value of its type. */
export function checkedStructuredOutputs(form: StructuredOutputs | undefined): StructuredOutputs | undefined {
  if (form === undefined) return undefined;
  const given = Object.entries(form).filter(([, value]) => value !== undefined);
  const names = given.map(([name]) => `'${name}'`);
  if (names.length !== 1) {
    throw refusal(`has ${names.length === 0 ? 'no form' : names.join(' and ')}; expected exactly one of ${KNOWN}.`);
  }
  const [[name, value]] = given;
  const kind = Object.hasOwn(KINDS, name) ? KINDS[name as Kind] : undefined;
  if (!kind) throw refusal(`has ${names[0]}; expected one of ${KNOWN}.`);
  if (!kind.accepts(value)) throw refusal(`has ${names[0]}, which is not ${kind.expected}.`);
  return { [name]: value };
}

const KNOWN = Object.keys(KINDS).join(', ');

/** A schema or a structural tag that may be given as text. @throws StructuredOutputsError where that is no JSON */
export function parsedForm(value: JsonObject | string, what: string): JsonValue {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch (error) {
    throw new StructuredOutputsError(`The ${what} is no JSON: ${asError(error).message}.`);
  }
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

function isObjectOrText(value: unknown): boolean {
  return isText(value) || isJsonObject(value);
}

function refusal(problem: string): SamplingParamsError {
  return new SamplingParamsError(`structuredOutputs ${problem}`, '', { param: 'structuredOutputs' });
}
