import { getOwn, isJsonObject, type JsonValue } from './json.ts';

/** The value that a JSON pointer with `#` before it leads to; undefined where there is none. */
export function resolvePointer(root: JsonValue, reference: string): JsonValue | undefined {
  let found: JsonValue | undefined = root;
  for (const part of reference.split('/').slice(1)) {
    const key = decoded(part).replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(found)) found = found[Number(key)];
    else if (isJsonObject(found)) found = getOwn(found, key);
    else return undefined;
  }
  return found;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
