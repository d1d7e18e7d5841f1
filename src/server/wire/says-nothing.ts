/** Members that stay although they are empty: the message may be meant to be empty, or its error helps the client. */
const MEANT = new Set(['content', 'text', 'arguments', 'input', 'output']);
/** Members whose contents are the caller's: inputs of calls. */
const INPUTS = new Set(['arguments', 'input']);
/** Lists and texts that are the subject of a request; they are also too long to be searched. */
const SUBJECTS = new Set(['prompt', 'messages', 'input', 'tokens']);
/** Subjects that are searched for empty members all the same. */
const CONVERSATIONS = new Set(['messages', 'input']);
/** Fields whose contents belong to the caller: a schema's empty object is not a missing one. */
export const VERBATIM = new Set([
  'tools',
  'documents',
  'chat_template_kwargs',
  'response_format',
  'structured_outputs',
  'guided_json',
  'output_config',
  'output_format',
  'format',
  'text',
  'metadata',
]);
/** Objects that ask for something although they are empty: a search without options, JSON of any form. */
const WISHES = new Set(['web_search_options', 'guided_json']);
/** Fields that must not be empty: a salt or a list that is left blank by mistake would allow what it should prevent. */
const NEVER_EMPTY = new Set(['cache_salt', 'allowed_token_ids']);

/** Depth below which nothing is searched. */
const MAX_DEPTH = 8;

/** Whether a value says no more than its absence: null, an empty value, or one that holds only such values. */
function saysNothing(value: unknown, depth = 0): boolean {
  if (value === null || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value !== 'object' || depth === MAX_DEPTH) return false;
  return Object.values(value as object).every((member) => saysNothing(member, depth + 1));
}

/**
 * A body without the fields that say nothing: clients send whole objects, with null or an empty value for what they do
 * not use. This looks at fields only; {@link withoutEmptyMembers} looks inside them.
 */
export function withoutEmptyFields(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const fields = Object.entries(body).filter(([name, value]) => {
    if (SUBJECTS.has(name)) return value !== null;
    if (NEVER_EMPTY.has(name)) return value !== null;
    if (WISHES.has(name)) return value !== null && value !== '';
    if (VERBATIM.has(name)) return value !== null && (typeof value !== 'object' || Object.keys(value).length > 0);
    return !saysNothing(value);
  });
  return Object.fromEntries(fields);
}

/**
 * A body without empty members below its fields. Elements of lists stay. Bodies that are large or deep never get here.
 */
export function withoutEmptyMembers(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const staysWhole = (name: string) => VERBATIM.has(name) || (SUBJECTS.has(name) && !CONVERSATIONS.has(name));
  const entries = Object.entries(body).map(([name, value]) => [name, staysWhole(name) ? value : pruned(value)]);
  return Object.fromEntries(entries);
}

function pruned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(pruned);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).filter(([name, member]) => MEANT.has(name) || !saysNothing(member));
  return Object.fromEntries(members.map(([name, member]) => [name, INPUTS.has(name) ? member : pruned(member)]));
}
