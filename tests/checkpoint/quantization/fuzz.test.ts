import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { Mamba2Error } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';
import { makeFolder } from '../folders.ts';
import { CASES } from './cases.ts';
import { random } from './numbers.ts';
import { type RawTensor, rawSafetensors } from './raw-safetensors.ts';

const BYTES: Readonly<Record<string, number>> = {
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F16: 2,
  BF16: 2,
  F32: 4,
  I32: 4,
  U32: 4,
  I64: 8,
};
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  3,
  7,
  2 ** 31,
  2 ** 60,
  0.5,
  '',
  'x',
  [],
  [1],
  [0, 0],
  {},
  ['a', 1],
  '*',
  're:(',
];

/** One of a list. */
const pick = <T>(next: () => number, list: readonly T[]): T => list[Math.floor(next() * list.length)];

/** A tensor of another dtype or shape, of as many bytes or fewer. */
function changed(next: () => number, tensor: RawTensor): RawTensor {
  const dtype = next() < 0.5 ? tensor.dtype : pick(next, Object.keys(BYTES));
  const values = Math.floor(tensor.bytes.length / BYTES[dtype]);
  const rows = 1 + Math.floor(next() * Math.min(values, 40));
  const columns = Math.max(1, Math.floor(values / rows));
  const shape = pick(next, [[], [values], [rows, columns], [columns, rows], [1, rows, columns], [rows, 0], [0]]);
  const count = shape.reduce<number>((product, extent) => product * extent, 1);
  if (count > values) return { ...tensor, dtype: 'U8', shape: [tensor.bytes.length] };
  return { ...tensor, dtype, shape, bytes: tensor.bytes.slice(0, count * BYTES[dtype]) };
}

/** A config with another value somewhere. */
function changedConfig(next: () => number, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return pick(next, VALUES);
  const entries = Object.entries(value);
  if (entries.length === 0 || next() < 0.1) return pick(next, VALUES);
  const [key] = pick(next, entries);
  const other = entries.flatMap(([name, inner]): [string, unknown][] => {
    if (name !== key) return [[name, inner]];
    return next() < 0.15 ? [] : [[name, changedConfig(next, inner)]];
  });
  return Array.isArray(value) ? other.map(([, inner]) => inner) : Object.fromEntries(other);
}

/** Opens a folder and reads what can be read: whatever is wrong about it is one of the library's errors. */
async function expectNamedErrors(files: Readonly<Record<string, unknown>>): Promise<void> {
  const opened = await Checkpoint.open(await makeFolder(files)).catch((error: unknown) => error);
  // A file that is no JSON, or no object.
  if (!(opened instanceof Checkpoint)) return expect(opened).toBeInstanceOf(Mamba2Error);
  const checkpoint = opened;
  try {
    const { problem } = checkpoint.quantization ?? {};
    if (problem !== undefined) expect(problem).toBeInstanceOf(Mamba2Error);
    for (const name of checkpoint.names()) {
      const [rows = 1] = checkpoint.info(name).shape;
      const range = { firstRow: Math.floor(rows / 2), rows: Math.min(rows, 1) };
      await checkpoint.readFloat32(name, range).catch((error: unknown) => expect(error).toBeInstanceOf(Mamba2Error));
    }
  } finally {
    await checkpoint.close();
  }
}

describe('quantised folders with something changed', () => {
  test.each(CASES.map(({ name }, i) => [name, i] as const))('%s', async (_, i) => {
    const { config, files, pack, columns = 16, rows = 8 } = CASES[i];
    const next = random(100 + i);
    const data = Float32Array.from({ length: 2 * rows * 2 * columns }, () => next() - 0.5);
    const { tensors } = pack('model.layers.0.proj', { rows: 2 * rows, columns: 2 * columns, data });
    for (let run = 0; run < runs(60); run++) {
      const at = Math.floor(next() * tensors.length);
      const change = next();
      const list = tensors.flatMap((tensor, t) => {
        if (t !== at || change < 0.4) return [tensor];
        return change < 0.5 ? [] : [changed(next, tensor)];
      });
      const isConfig = change < 0.4;
      await expectNamedErrors({
        ...(isConfig && files ? (changedConfig(next, files) as object) : files),
        'config.json': { model_type: 'mamba2', ...((isConfig ? changedConfig(next, config ?? {}) : config) as object) },
        'model.safetensors': rawSafetensors(list),
      });
    }
  });
});
