import { isJsonObject, type JsonObject } from '../../checkpoint/json/json.ts';

/** Arguments of a whole call as an object. Parsers of calls let only objects through. */
export function callInput(json: string): JsonObject {
  const value: unknown = JSON.parse(json === '' ? '{}' : json);
  return isJsonObject(value) ? value : {};
}
