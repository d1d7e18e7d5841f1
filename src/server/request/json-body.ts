import type { z } from 'zod';
import { closestNames } from '../../checkpoint/closest-names.ts';
import { countTokensRequest, messagesRequest } from '../anthropic/wire/messages-request.ts';
import { ollamaChatRequest, ollamaGenerateRequest, ollamaShowRequest } from '../ollama/wire/requests.ts';
import { responseRequest } from '../responses/wire/response-request.ts';
import { withoutUnsupportedMembers } from '../wire/chat-message.ts';
import { chatRequest } from '../wire/chat-request.ts';
import { completionRequest } from '../wire/completions/completion-request.ts';
import { badRequest, HttpError } from '../wire/http-error.ts';
import { packedIds, promptList } from '../wire/prompt-field.ts';
import { VERBATIM, withoutEmptyFields, withoutEmptyMembers } from '../wire/says-nothing.ts';
import { exactSeed } from '../wire/seed-field.ts';
import { detokenizeRequest, tokenizeRequest } from '../wire/tokenization.ts';
import { withoutUnsupported } from '../wire/unsupported-fields.ts';
import type { RequestLimits } from './limits.ts';

/** Schemas of request bodies by the name of their form. */
export const BODY_FORMS = {
  chat: chatRequest,
  completion: completionRequest,
  countTokens: countTokensRequest,
  detokenize: detokenizeRequest,
  messages: messagesRequest,
  ollamaChat: ollamaChatRequest,
  ollamaGenerate: ollamaGenerateRequest,
  ollamaShow: ollamaShowRequest,
  response: responseRequest,
  tokenize: tokenizeRequest,
} as const;

export type BodyForm = keyof typeof BODY_FORMS;

/** Body of a form, as its handler gets it. */
export type Body<F extends BodyForm> = z.output<(typeof BODY_FORMS)[F]>;

/** Limits that hold for the contents of a body. */
export type BodyLimits = Pick<RequestLimits, 'maxAnswers' | 'maxListLength'>;

/** Limit for a body's fields; a body that is not hostile has far fewer. */
const MAX_FIELDS = 10_000;

/** Limits for the elements of all lists except prompts, and for the depth of nesting. */
const MAX_ELEMENTS = 65_536;
const MAX_DEPTH = 16;
/** Schemas of tools, and inputs of calls, nest two levels for each of their objects. */
const MAX_VERBATIM_DEPTH = 64;
const DEEP_LISTS = new Set([...VERBATIM, 'messages']);

/** Lists that may be long: their schemas make no message for each element. */
const LONG_LISTS = new Set(['prompt', 'tokens']);

/** Lists with `maxListLength` entries at most. */
const SHORT_LISTS = ['stop', 'stop_sequences', 'stop_token_ids', 'bad_words', 'logit_bias'];

/** Limit for the characters of a client's text that an error message quotes. */
const QUOTED_CHARACTERS = 100;

/**
 * Parses and checks a body of a form. Token ids are packed into typed arrays, so that a body can be moved to another
 * thread without copying each number.
 *
 * @param bytes JSON in UTF-8
 * @throws HttpError 400 that says what is wrong with the body.
 */
export function parseBody<F extends BodyForm>(form: F, bytes: Uint8Array, limits: BodyLimits): Body<F>;
export function parseBody(form: BodyForm, bytes: Uint8Array, limits: BodyLimits): Body<BodyForm> {
  const schema: z.ZodObject = BODY_FORMS[form];
  const text = new TextDecoder().decode(bytes);
  const body = parseJson(text);
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw badRequest('The body must be a JSON object.', undefined, 'invalid_json');
  }
  const numFields = Object.keys(body).length;
  if (numFields > MAX_FIELDS) {
    throw badRequest(`The body has ${numFields} fields; ${MAX_FIELDS} are taken.`, undefined, 'invalid_value');
  }
  const known = Object.keys(schema.shape);
  const asked = withoutUnsupported(withoutEmptyFields(body as Readonly<Record<string, unknown>>), known);
  for (const name of Object.keys(asked)) if (!Object.hasOwn(schema.shape, name)) throw unknownField(name, known);
  assertModest(asked, limits);
  const fields = withoutEmptyMembers(asked);
  if ('messages' in fields) fields.messages = withoutUnsupportedMembers(fields.messages);
  if ('seed' in fields) fields.seed = exactSeed(fields.seed, text);
  const parsed = schema.safeParse(fields);
  if (!parsed.success) throw describe(parsed.error);
  return packed(parsed.data as Body<BodyForm>, limits);
}

function packed(body: Body<BodyForm>, limits: BodyLimits): Body<BodyForm> {
  if ('tokens' in body) return { ...body, tokens: packedIds(body.tokens) };
  if (!('prompt' in body) || body.prompt === undefined) return body;
  const prompts = promptList(body.prompt);
  assertFewPrompts(prompts.length, limits);
  if (typeof prompts[0] === 'string') return body;
  return { ...body, prompt: prompts.map((prompt) => (typeof prompt === 'string' ? prompt : packedIds(prompt))) };
}

function assertFewPrompts(count: number, { maxAnswers }: BodyLimits): void {
  if (count <= maxAnswers) return;
  throw badRequest(`There are ${count} prompts; this server takes ${maxAnswers}.`, 'prompt', 'too_many');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // V8's message quotes the body, which may hold a prompt: so it is not logged.
    const message =
      text.trim() === '' ? 'The body is empty; a JSON object is expected.' : 'The body is not valid JSON.';
    throw new HttpError(400, message, { code: 'invalid_json', cause: cause instanceof Error ? cause.name : undefined });
  }
}

/** Refuses bodies that take the schema long to check. */
function assertModest(body: Readonly<Record<string, unknown>>, { maxListLength }: BodyLimits): void {
  for (const name of SHORT_LISTS) {
    const value = body[name];
    const size = typeof value === 'object' && value !== null ? Object.keys(value).length : 0;
    if (size <= maxListLength) continue;
    throw badRequest(`'${name}' has ${size} entries; this server takes ${maxListLength}.`, name, 'too_many');
  }
  let elements = 0;
  const visit = (value: unknown, depth: number, path: string, maxDepth: number) => {
    if (typeof value !== 'object' || value === null) return;
    if (depth > maxDepth) throw badRequest(`'${path}' is nested too deeply.`, path, 'invalid_value');
    const parts = Array.isArray(value) ? value : Object.values(value);
    elements += parts.length;
    if (elements > MAX_ELEMENTS) throw badRequest(`'${path}' is too long.`, path, 'invalid_value');
    for (const part of parts) visit(part, depth + 1, path, maxDepth);
  };
  for (const [name, value] of Object.entries(body)) {
    if (!LONG_LISTS.has(name)) visit(value, 1, name, DEEP_LISTS.has(name) ? MAX_VERBATIM_DEPTH : MAX_DEPTH);
  }
}

function unknownField(name: string, known: readonly string[]): HttpError {
  const [closest] = closestNames(name, known, 1);
  const message = `There is no field '${cut(name)}'. Did you mean '${closest}'?`;
  return badRequest(message, cut(name), 'unknown_parameter');
}

/** Error that names the first mistake. */
function describe(error: z.ZodError): HttpError {
  const issue = mostSpecific(error.issues[0]);
  const path = cut(issue.path.map(String).join('.'));
  // zod's message would name all unknown keys, however many.
  const message =
    issue.code === 'unrecognized_keys' ? `Unrecognized key: "${cut(issue.keys[0])}"` : cut(issue.message, 1000);
  return badRequest(`${path}: ${message}.`, path, 'invalid_value');
}

function cut(text: string, most = QUOTED_CHARACTERS): string {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

type Issue = z.core.$ZodIssue;

/** The issue of a union's best fitting alternative: the one with the mistake deepest inside. */
function mostSpecific(issue: Issue): Issue {
  // A union by the type of its members has no alternatives where the type is unknown.
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return issue;
  const alternatives = issue.errors.map(([first]) => first).filter((first) => first !== undefined);
  const [deepest] = alternatives.toSorted((a, b) => b.path.length - a.path.length);
  if (deepest === undefined || deepest.path.length === 0) {
    const expected = alternatives.map((each) => ('expected' in each ? String(each.expected) : each.message));
    return { ...issue, message: `Invalid input: expected ${expected.join(' or ')}` };
  }
  const inner = mostSpecific(deepest);
  return { ...inner, path: [...issue.path, ...inner.path] };
}
