import { isJsonObject, type JsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { resolvePointer } from '../../checkpoint/json/json-pointer.ts';

/**
 * References to schemas that some finite value satisfies. A schema that needs itself inside itself has none: an answer
 * to it would never end.
 */
export function satisfiableReferences(root: JsonValue): ReadonlySet<string> {
  const open = new Map<string, JsonValue>();
  collect(root, root, open);
  const satisfiable = new Set<string>();
  for (let isChanged = true; isChanged; ) {
    isChanged = false;
    for (const [reference, schema] of open) {
      if (!isSatisfiable(schema, satisfiable)) continue;
      satisfiable.add(reference);
      open.delete(reference);
      isChanged = true;
    }
  }
  return satisfiable;
}

function collect(value: JsonValue | undefined, root: JsonValue, found: Map<string, JsonValue>): void {
  if (Array.isArray(value)) {
    for (const each of value) collect(each, root, found);
    return;
  }
  if (!isJsonObject(value)) return;
  const { $ref } = value;
  if (typeof $ref === 'string' && !found.has($ref)) {
    const target = resolvePointer(root, $ref);
    if (target !== undefined) found.set($ref, target);
  }
  for (const each of Object.values(value)) collect(each, root, found);
}

/** Whether a value ends, as far as references decide it: others contradictions show when the grammar is made. */
function isSatisfiable(schema: JsonValue | undefined, known: ReadonlySet<string>): boolean {
  if (!isJsonObject(schema)) return schema !== false;
  const { $ref, allOf, anyOf, oneOf } = schema;
  if (typeof $ref === 'string' && !known.has($ref)) return false;
  if (Array.isArray(allOf) && !allOf.every((each) => isSatisfiable(each, known))) return false;
  for (const some of [anyOf, oneOf]) {
    if (Array.isArray(some) && !some.some((each) => isSatisfiable(each, known))) return false;
  }
  if (schema.enum !== undefined || schema.const !== undefined) return true;
  const types = schema.type === undefined ? ['null'] : [schema.type].flat();
  return types.some((type) =>
    type === 'array' ? hasArray(schema, known) : type !== 'object' || hasObject(schema, known),
  );
}

function hasArray({ minItems, items = true, prefixItems }: JsonObject, known: ReadonlySet<string>): boolean {
  const prefix = Array.isArray(prefixItems) ? prefixItems : [];
  const fewest = Number(minItems ?? 0);
  const needed = [...prefix.slice(0, fewest), ...(fewest > prefix.length ? [items] : [])];
  return needed.every((each) => isSatisfiable(each, known));
}

function hasObject({ properties, required, additionalProperties }: JsonObject, known: ReadonlySet<string>): boolean {
  const names = Array.isArray(required) ? required.map(String) : [];
  return names.every((name) => {
    const isOwn = isJsonObject(properties) && Object.hasOwn(properties, name);
    return isSatisfiable(isOwn ? properties[name] : (additionalProperties ?? true), known);
  });
}
