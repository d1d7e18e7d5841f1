import { getOwn, isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { resolvePointer } from '../../checkpoint/json/json-pointer.ts';
import { JsonScanner } from './json-scanner.ts';

/** Depth of schemas inside each other that is looked at. */
const MAX_DEPTH = 8;

/** JSON types that a function's parameter may have, by the function's schema; only `string` where it says nothing. */
export function schemaTypes(schema: JsonObject | undefined, key: string): ReadonlySet<string> {
  const properties = schema && getOwn(schema, 'properties');
  const own = isJsonObject(properties) ? getOwn(properties, key) : undefined;
  const types = new Set<string>();
  collectTypes(own, schema ?? {}, types, 0);
  return types.size === 0 ? new Set(['string']) : types;
}

function collectTypes(schema: JsonValue | undefined, root: JsonObject, types: Set<string>, depth: number): void {
  if (!isJsonObject(schema) || depth > MAX_DEPTH) return;
  const type = getOwn(schema, 'type');
  for (const each of Array.isArray(type) ? type : [type]) if (typeof each === 'string') types.add(each);
  if (type !== undefined) return;
  const constant = getOwn(schema, 'const');
  const values = getOwn(schema, 'enum') ?? (constant === undefined ? [] : [constant]);
  if (Array.isArray(values)) for (const value of values) types.add(typeOf(value));
  for (const name of ['anyOf', 'oneOf', 'allOf']) {
    const options = getOwn(schema, name);
    if (Array.isArray(options)) for (const option of options) collectTypes(option, root, types, depth + 1);
  }
  const reference = getOwn(schema, '$ref');
  if (typeof reference === 'string' && reference.startsWith('#/')) {
    collectTypes(resolvePointer(root, reference), root, types, depth + 1);
  }
  if (types.size === 0 && getOwn(schema, 'properties') !== undefined) types.add('object');
  if (types.size === 0 && getOwn(schema, 'items') !== undefined) types.add('array');
}

/** JSON of a value that a model wrote as plain text, as one of these types. What fits none is a string. */
export function typedJson(text: string, types: ReadonlySet<string>): string {
  const trimmed = text.trim();
  if (/^(null|None)$/i.test(trimmed) && (types.has('null') || !types.has('string'))) return 'null';
  if (/^(true|false)$/i.test(trimmed) && types.has('boolean')) return trimmed.toLowerCase();
  const json = mendedJson(trimmed);
  if (json === undefined) return JSON.stringify(text);
  const type = typeOf(JSON.parse(json));
  return types.has(type) || (type === 'number' && types.has('integer')) ? json : JSON.stringify(text);
}

/** JSON of a text that is JSON, or a value as Python writes it; undefined if it is neither. */
function mendedJson(text: string): string | undefined {
  const scanner = new JsonScanner();
  const chars = [...text];
  for (const [i, char] of chars.entries()) {
    const scan = scanner.push(char);
    if (scan === 'end' && i === chars.length - 1) return scanner.take();
    if (scan !== 'more') return undefined;
  }
  return scanner.flush() ? scanner.take() : undefined;
}

function typeOf(value: JsonValue): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
