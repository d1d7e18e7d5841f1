/**
 * Copies a caller's value: arrays, maps, sets and plain objects at every depth, so that the caller may change them as
 * soon as the call has returned. Anything else (signals, functions, objects of classes) is shared.
 */
export function detached<T>(value: T): T;
export function detached(value: unknown): unknown {
  return copyOf(value, new Map());
}

function copyOf(value: unknown, copies: Map<object, unknown>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = copies.get(value);
  if (known !== undefined) return known;
  const register = <C extends object>(copy: C): C => {
    copies.set(value, copy);
    return copy;
  };
  if (Array.isArray(value)) {
    const copy: unknown[] = register([]);
    for (const each of value) copy.push(copyOf(each, copies));
    return copy;
  }
  if (value instanceof Map) return register(new Map(value));
  if (value instanceof Set) return register(new Set(value));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return value;
  const copy: Record<string, unknown> = register({});
  for (const [key, each] of Object.entries(value)) copy[key] = copyOf(each, copies);
  return copy;
}
