import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { KEYWORDS, unsupported } from './schema-keywords.ts';

/**
 * A schema that accepts what both accept: for `allOf`, and for keywords besides `anyOf` or `$ref`.
 * @throws StructuredOutputsError where keywords of both can't be put into one schema.
 */
export function combine(a: JsonValue, b: JsonValue, path: string): JsonValue {
  if (a === false || b === false) return false;
  if (!isJsonObject(a)) return b;
  if (!isJsonObject(b)) return a;
  const combined: JsonObject = { ...a };
  for (const [keyword, value] of Object.entries(b)) {
    const own = combined[keyword];
    if (KEYWORDS.get(keyword) === 'annotation' || ELEMENTS.includes(keyword)) continue;
    combined[keyword] = own === undefined ? value : both(keyword, own, value, path);
  }
  assertClosedTogether(a, b, path);
  return { ...combined, ...commonElements(a, b) };
}

/** Keywords about elements, which mean something together only. */
const ELEMENTS = ['prefixItems', 'items'];

/** Each element is what both say about its place: `items` of one holds for `prefixItems` of the other, too. */
function commonElements(a: JsonObject, b: JsonObject): JsonObject {
  const [ours, theirs] = [a, b].map(({ prefixItems }) => (Array.isArray(prefixItems) ? prefixItems : []));
  const all = (parts: readonly (JsonValue | undefined)[]): JsonValue | undefined => {
    const [first, second] = parts.filter((part) => part !== undefined);
    return second === undefined || JSON.stringify(first) === JSON.stringify(second)
      ? first
      : { allOf: [first, second] };
  };
  const prefixItems = Array.from(
    { length: Math.max(ours.length, theirs.length) },
    (_, i) => all([ours[i] ?? a.items, theirs[i] ?? b.items]) ?? true,
  );
  const items = all([a.items, b.items]);
  return { ...(prefixItems.length > 0 && { prefixItems }), ...(items !== undefined && { items }) };
}

function both(keyword: string, a: JsonValue, b: JsonValue, path: string): JsonValue {
  if (JSON.stringify(a) === JSON.stringify(b)) return a;
  if (keyword === 'type') return commonTypes(a, b);
  if (keyword === 'allOf' && Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
  if (keyword === 'required' && Array.isArray(a) && Array.isArray(b)) return [...new Set([...a, ...b])];
  if (keyword === 'properties' && isJsonObject(a) && isJsonObject(b)) {
    const all: JsonObject = { ...a };
    for (const [name, schema] of Object.entries(b)) {
      all[name] = all[name] === undefined ? schema : { allOf: [all[name], schema] };
    }
    return all;
  }
  if (keyword === 'enum' && Array.isArray(a) && Array.isArray(b)) {
    const known = new Set(b.map((each) => JSON.stringify(each)));
    const common = a.filter((each) => known.has(JSON.stringify(each)));
    if (common.length > 0) return common;
  }
  if (typeof a === 'number' && typeof b === 'number') {
    if (/^(exclusiveM|m)inimum$|^min/.test(keyword)) return Math.max(a, b);
    if (/^(exclusiveM|m)aximum$|^max/.test(keyword)) return Math.min(a, b);
  }
  throw unsupported(path, keyword, 'besides another one of the same name');
}

function commonTypes(a: JsonValue, b: JsonValue): JsonValue {
  const [types, others] = [a, b].map((each) => (Array.isArray(each) ? each : [each]));
  const common = types.flatMap((type) => {
    if (others.includes(type)) return [type];
    if (type === 'integer' && others.includes('number')) return ['integer'];
    return type === 'number' && others.includes('integer') ? ['integer'] : [];
  });
  // An empty list would be malformed; no value is of this one.
  return common;
}

/** A closed schema closes only over its own properties, so nothing may be added to them. */
function assertClosedTogether(a: JsonObject, b: JsonObject, path: string): void {
  for (const [closed, other] of [
    [a, b],
    [b, a],
  ]) {
    if (closed.additionalProperties === undefined || closed.additionalProperties === true) continue;
    if (other.patternProperties !== undefined)
      throw unsupported(path, 'additionalProperties', 'besides patternProperties of another schema');
    const own = isJsonObject(closed.properties) ? closed.properties : {};
    const added = isJsonObject(other.properties) ? Object.keys(other.properties) : [];
    if (added.some((name) => !Object.hasOwn(own, name))) {
      throw unsupported(path, 'additionalProperties', 'besides further properties');
    }
  }
}
