import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { elementCount } from '../src/tensor/tensor.ts';
import { bytesOf, type Piece, SyntheticParameters, writeModelFolder } from './model-folder.ts';
import { requireOurs, runOurs } from './ours.ts';
import { describeProcessor, thisProcessor } from './processor.ts';
import type { Workload } from './workload.ts';

/**
 * Speed of a model whose projections are FP8 (E4M3, a scale for each tensor), as ModelOpt and others write them. llama.cpp
 * has no such type, so there is nothing to compare it with.
 */
const FOLDER = join(import.meta.dirname, '.build', 'models');

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'mamba2-130m' },
    threads: { type: 'string', default: `${availableParallelism()}` },
    quick: { type: 'boolean', default: false },
  },
});
if (!Object.hasOwn(MODEL_SHAPES, values.shape)) throw new Error(`There is no shape '${values.shape}'.`);
const shape = values.shape as ModelShape;
await requireOurs();
const folder = join(FOLDER, `${shape}-FP8`);
const config = { ...MODEL_SHAPES[shape], quantization_config: { quant_method: 'fp8', activation_scheme: 'dynamic' } };
const parameters = new SyntheticParameters(shape);
await writeModelFolder(folder, config, parameters.names().flatMap(piecesOf));
const workload: Workload = {
  shape,
  threads: Number(values.threads),
  promptTokens: [values.quick ? 32 : 512],
  generateTokens: values.quick ? 8 : 32,
  sequences: values.quick ? 4 : 16,
  repetitions: 1,
  states: 'float32',
  matmulPrecision: 'high',
};
const { rates } = await runOurs('float32', workload, { device: 'cpu', kind: 'native' }, folder);
const rows = [...rates].map(([work, rate]) => [work, rate.toFixed(1)]);
process.stdout.write(`${shape} in FP8, threads: ${values.threads}, ${describeProcessor(thisProcessor())}\n\n`);
process.stdout.write(`${formatTable([['', 'tokens/s'], ...rows])}\n`);

/** A projection is codes and a scale; all else stays float32. */
function piecesOf(name: string): Piece[] {
  if (!parameters.isProjection(name)) return [parameters.floats(name, 'F32')];
  const size = parameters.shape(name);
  const count = elementCount(size);
  const scale = { name: `${name}_scale`, dtype: 'F32', shape: [1], bytes: 4 };
  return [
    { name, dtype: 'F8_E4M3', shape: size, bytes: count, data: () => codes(count) },
    { ...scale, data: () => bytesOf(Float32Array.of(0.01)) },
  ];
}

/** Codes of all values but NaN. */
function codes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = Math.imul(i, 0x9e3779b1) >>> 24;
  return bytes.map((code) => ((code & 0x7f) > 0x50 ? code & 0xbf : code));
}
