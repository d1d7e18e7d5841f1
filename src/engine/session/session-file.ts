import { memorySource } from '../../checkpoint/files/byte-source.ts';
import { getOwn, isJsonObject, type JsonValue } from '../../checkpoint/json/json.ts';
import { SafetensorsFile } from '../../checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../checkpoint/safetensors/safetensors-writer.ts';
import { SafetensorsError, SessionFileError } from '../../errors.ts';
import { Hash } from '../../util/hash.ts';
import type { StatedIdentity } from '../load/model-identity.ts';

/** Contents of a session's file. It is a safetensors file, which other tools can read. */
export interface SessionContents {
  readonly model: StatedIdentity;
  readonly tokenIds: readonly number[];
  /** State after the first `length` tokens; absent if the session had none. */
  readonly state?: {
    readonly length: number;
    readonly values: Float32Array;
    readonly logits?: Float32Array | undefined;
  };
}

const FORMAT = 'mamba2-session';
const VERSION = '1';
const NOT_A_SESSION = 'Give the bytes that session.save() returned, all of them.';

export function writeSession({ model, tokenIds, state }: SessionContents): Uint8Array<ArrayBuffer> {
  // float32 holds every token id below 2^24.
  const tensors: TensorToWrite[] = [tensor('token_ids', Float32Array.from(tokenIds))];
  if (state) tensors.push(tensor('state', state.values));
  if (state?.logits) tensors.push(tensor('logits', state.logits));
  const facts = { model: JSON.stringify(model), length: `${state?.length ?? 0}` };
  const checksum = checksumOf(facts, tensors);
  return writeSafetensors(tensors, { format: FORMAT, version: VERSION, ...facts, checksum });
}

/**
 * Reads a session's file; only whether the state fits the model is left to check. Files of earlier versions of this
 * library have no checksum: of them only the tokens are taken, from which the state is computed again.
 * @throws SessionFileError
 */
export async function readSession(bytes: Uint8Array, vocabSize: number): Promise<SessionContents> {
  const file = await openFile(bytes);
  const { metadata } = file;
  if (metadata.format !== FORMAT) throw new SessionFileError('This is not a session file.', NOT_A_SESSION);
  if (metadata.version !== VERSION) {
    throw new SessionFileError(
      `The session file is of version '${metadata.version}'; this library reads version ${VERSION}.`,
      'Read it with the version of the library that wrote it, or start a new session.',
    );
  }
  const tokens = (await readVector(file, 'token_ids')) ?? fail('it has no tokens');
  const values = await readVector(file, 'state');
  const logits = await readVector(file, 'logits');
  if (metadata.checksum !== undefined) {
    const vectors = Object.entries({ token_ids: tokens, state: values, logits });
    const found = checksumOf(
      metadata,
      vectors.flatMap(([name, data]) => (data ? [{ name, data }] : [])),
    );
    if (found !== metadata.checksum) fail('its contents do not match its checksum');
  }
  const model = readIdentity(metadata.model);
  const tokenIds = Array.from(tokens);
  const wrong = tokenIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (wrong !== undefined) fail(`token id ${wrong} is outside the vocabulary of ${vocabSize}`);
  if (!values || metadata.checksum === undefined) return { model, tokenIds };
  const length = Number(metadata.length);
  if (!Number.isInteger(length) || length < 1 || length > tokenIds.length) {
    fail(`it claims a state after ${metadata.length} of ${tokenIds.length} tokens`);
  }
  for (const [name, vector] of Object.entries({ state: values, logits })) {
    const at = vector?.findIndex((value) => !Number.isFinite(value)) ?? -1;
    if (at >= 0) fail(`'${name}' has ${vector?.[at]} at ${at}`);
  }
  if (logits && logits.length !== vocabSize) fail(`it has ${logits.length} logits for a vocabulary of ${vocabSize}`);
  return { model, tokenIds, state: { length, values, logits } };
}

async function openFile(bytes: Uint8Array): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(memorySource('the session', bytes));
  } catch (cause) {
    if (!(cause instanceof SafetensorsError)) throw cause;
    throw new SessionFileError(`This is not a whole session file: ${cause.message}`, NOT_A_SESSION, { cause });
  }
}

async function readVector(file: SafetensorsFile, name: string): Promise<Float32Array | undefined> {
  const info = file.tensors.get(name);
  if (!info) return undefined;
  if (info.dtype !== 'F32' || info.shape.length !== 1) fail(`'${name}' is not a vector of F32`);
  return file.readFloat32(name);
}

function readIdentity(text: string | undefined): StatedIdentity {
  let json: JsonValue = null;
  try {
    json = JSON.parse(text ?? 'null');
  } catch {
    // Reported with all else that is no identity.
  }
  const field = (key: string): string => {
    const value = isJsonObject(json) ? getOwn(json, key) : undefined;
    return typeof value === 'string' ? value : fail(`its model's '${key}' is missing`);
  };
  const optional = (key: string): string | undefined =>
    isJsonObject(json) && getOwn(json, key) !== undefined ? field(key) : undefined;
  return {
    architecture: field('architecture'),
    configHash: field('configHash'),
    weightsHash: field('weightsHash'),
    dtype: field('dtype'),
    states: optional('states'),
    kvCache: optional('kvCache'),
  };
}

/** Checksum of all contents of a file. */
function checksumOf(
  { model, length }: Readonly<Record<string, string>>,
  vectors: readonly Pick<TensorToWrite, 'name' | 'data'>[],
): string {
  const hash = new Hash();
  hash.addText(JSON.stringify([model, length]));
  for (const { name, data } of vectors) {
    hash.addText(`${name}:${data.length};`);
    hash.addFloats(data);
  }
  return `${hash}`;
}

function tensor(name: string, data: Float32Array): TensorToWrite {
  return { name, dtype: 'F32', shape: [data.length], data };
}

function fail(problem: string): never {
  throw new SessionFileError(`The session file is damaged: ${problem}.`, NOT_A_SESSION);
}
