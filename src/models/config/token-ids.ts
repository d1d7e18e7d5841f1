import { getOwn, type JsonObject } from '../../checkpoint/json/json.ts';
import { ConfigError } from '../../errors.ts';

/** A token id, a list of them, or none, which some writers put as -1. @throws ConfigError */
export function readTokenIds(json: JsonObject, key: string, fileName: string): number[] {
  const value = getOwn(json, key);
  if (value === undefined || value === null) return [];
  const ids = Array.isArray(value) ? value : [value];
  return ids.flatMap((id) => {
    if (id === -1) return [];
    if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return [id];
    throw new ConfigError(`${fileName}: '${key}' holds ${JSON.stringify(id)}, expected token ids.`);
  });
}
