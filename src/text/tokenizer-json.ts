import { describeJson, getOwn, isJsonObject, type JsonObject, type JsonValue } from '../checkpoint/json.ts';
import { TokenizerError } from '../errors.ts';

/** More than any vocabulary has. The tokenizer library makes an array up to the highest id, so one must not be huge. */
const MAX_ID = 2 ** 22;

/** Checks what the tokenizer library takes for granted about a tokenizer.json. Throws TokenizerError. */
export function assertTokenizerJson(json: JsonObject): void {
  const model = getOwn(json, 'model');
  if (!isJsonObject(model)) {
    throw malformed(`'model' is ${describeJson(model)}, expected an object`);
  }
  const vocab = getOwn(model, 'vocab');
  if (isJsonObject(vocab)) {
    for (const [token, id] of Object.entries(vocab)) assertId(token, id);
  } else if (!Array.isArray(vocab)) {
    throw malformed(`'model.vocab' is ${describeJson(vocab)}, expected an object or a list`);
  }
  const added = getOwn(json, 'added_tokens') ?? [];
  if (!Array.isArray(added)) throw malformed(`'added_tokens' is ${describeJson(added)}, expected a list`);
  for (const token of added) {
    const content = isJsonObject(token) ? getOwn(token, 'content') : undefined;
    if (!isJsonObject(token) || typeof content !== 'string') {
      throw malformed(`'added_tokens' holds ${describeJson(token)}, expected {id, content, …}`);
    }
    assertId(content, getOwn(token, 'id'));
  }
}

function assertId(token: string, id: JsonValue | undefined): void {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < MAX_ID) return;
  throw malformed(
    `token ${JSON.stringify(token)} has the id ${describeJson(id)}, expected an integer from 0 to ${MAX_ID - 1}`,
  );
}

function malformed(problem: string): TokenizerError {
  return new TokenizerError(`tokenizer.json is malformed: ${problem}.`, 'Get the file again.');
}
