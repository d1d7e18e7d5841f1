/** An object of JSON. */
export type JsonObject = { readonly [key: string]: Json };
type Json = null | boolean | number | string | Json[] | JsonObject;

/** A function that the model may call, in OpenAI's form. */
export interface Tool {
  readonly type: 'function';
  readonly function: { readonly name: string; readonly description?: string; readonly parameters?: JsonObject };
}

/** A JSON Schema. @throws Error */
export function readSchema(value: unknown): JsonObject {
  if (isObject(value)) return value;
  throw new Error(`A JSON Schema is an object, such as {"type": "object"}, and this is ${kindOf(value)}.`);
}

/** Tools: functions in OpenAI's form, or without its outer object; one, or a list of them. @throws Error */
export function readTools(value: unknown): readonly Tool[] {
  const list = Array.isArray(value) ? value : [value];
  return list.map((each, i) => {
    const called = isObject(each) && isObject(each.function) ? each.function : each;
    const where = list.length > 1 ? `Tool ${i + 1}` : 'The tool';
    if (!isObject(called)) throw new Error(`${where} is ${kindOf(called)}; a tool is an object with a name.`);
    const { name, description, parameters } = called;
    if (typeof name !== 'string' || name === '') {
      throw new Error(
        `${where} has no name. Tools look like this: {"name": "weather", "parameters": {"type": "object"}}.`,
      );
    }
    if (description !== undefined && typeof description !== 'string') {
      throw new Error(`The description of '${name}' is ${kindOf(description)}, and should be a text.`);
    }
    if (parameters !== undefined && !isObject(parameters)) {
      throw new Error(`The parameters of '${name}' are ${kindOf(parameters)}, and should be a JSON Schema.`);
    }
    return { type: 'function', function: { ...called, name } } as Tool;
  });
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
