import type { Context } from 'hono';
import type { z } from 'zod';
import { closestNames } from '../checkpoint/closest-names.ts';
import { bodyText } from './body-text.ts';
import { badRequest, HttpError } from './http-error.ts';
import { exactSeed } from './wire/seed-field.ts';
import { withoutUnsupported } from './wire/unsupported-fields.ts';

/** Elements of lists in a body, without those of prompts; and how deep it may be nested. */
const MAX_ELEMENTS = 65_536;
const MAX_DEPTH = 16;

/** Lists that are long by right, and are checked without a message for each element. */
const LONG_LISTS = new Set(['prompt', 'tokens']);

/** Reads a JSON body of a known form. @throws HttpError 400, 413 or 415 that says what is wrong with it. */
export async function readJsonBody<T extends z.ZodObject>(
  c: Context,
  schema: T,
  maxBytes: number,
): Promise<z.output<T>> {
  // Nothing else: a page of another origin may send text or forms without asking the server first, but no JSON.
  if (!/^application\/json\s*(;|$)/i.test(c.req.header('content-type') ?? '')) {
    throw new HttpError(415, "Send 'Content-Type: application/json'.", { code: 'unsupported_media_type' });
  }
  const text = await bodyText(c, maxBytes);
  const body = parseJson(text);
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw badRequest('The body must be a JSON object.', undefined, 'invalid_json');
  }
  const fields = withoutUnsupported(body as Readonly<Record<string, unknown>>);
  assertModest(fields);
  if ('seed' in fields) fields.seed = exactSeed(fields.seed, text);
  const parsed = schema.safeParse(fields);
  if (parsed.success) return parsed.data;
  throw describe(parsed.error, Object.keys(schema.shape));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    // V8's message quotes the body, which may be somebody's prompt: it goes to no log.
    const message =
      text.trim() === '' ? 'The body is empty; a JSON object is expected.' : 'The body is not valid JSON.';
    throw new HttpError(400, message, { code: 'invalid_json', cause: cause instanceof Error ? cause.name : undefined });
  }
}

/** What a validator would take long over is refused before. */
function assertModest(body: Readonly<Record<string, unknown>>): void {
  let elements = 0;
  const visit = (value: unknown, depth: number, path: string) => {
    if (typeof value !== 'object' || value === null) return;
    if (depth > MAX_DEPTH) throw badRequest(`'${path}' is nested too deeply.`, path, 'invalid_value');
    const parts = Array.isArray(value) ? value : Object.values(value);
    elements += parts.length;
    if (elements > MAX_ELEMENTS) throw badRequest(`'${path}' is too long.`, path, 'invalid_value');
    for (const part of parts) visit(part, depth + 1, path);
  };
  for (const [name, value] of Object.entries(body)) if (!LONG_LISTS.has(name)) visit(value, 1, name);
}

/** The first thing that is wrong. */
function describe(error: z.ZodError, known: readonly string[]): HttpError {
  const [issue] = error.issues.map(mostSpecific);
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys' && path === '') {
    const [key] = issue.keys;
    const [closest] = closestNames(key, known, 1);
    return badRequest(`There is no field '${key}'. Did you mean '${closest}'?`, key, 'unknown_parameter');
  }
  return badRequest(`${path}: ${issue.message}.`, path, 'invalid_value');
}

type Issue = z.core.$ZodIssue;

/** Of a union, what is wrong with the alternative that fits best: the one that is wrong furthest inside. */
function mostSpecific(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const alternatives = issue.errors.map(([first]) => first).filter((first) => first !== undefined);
  const [deepest] = alternatives.toSorted((a, b) => b.path.length - a.path.length);
  if (deepest === undefined || deepest.path.length === 0) {
    const expected = alternatives.map((each) => ('expected' in each ? String(each.expected) : each.message));
    return { ...issue, message: `Invalid input: expected ${expected.join(' or ')}` };
  }
  const inner = mostSpecific(deepest);
  return { ...inner, path: [...issue.path, ...inner.path] };
}
