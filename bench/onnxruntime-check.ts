// Compares logits of the graph that onnxruntime runs with our own, so that the graph is known to be the model.
// node onnxruntime-check.ts [shape] [threads]

import { loadSynthetic } from '../src/bench/load-synthetic.ts';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import type { StorageSetting } from '../src/tensor/dtype.ts';
import { OnnxSession } from './onnx-session.ts';

const PROMPT = 40;
const STEPS = 3;

const shape = (process.argv[2] ?? 'mamba2-130m') as ModelShape;
const threads = Number(process.argv[3] ?? 2);
const tokenIds = Array.from({ length: PROMPT + STEPS }, (_, i) => (i * 6151 + 17) % 50000);

const exact = await ourLogits('float32');
for (const [name, logits] of [
  ['onnxruntime float32', await theirLogits('float32')],
  ['mamba2 int8', await ourLogits('int8')],
  ['mamba2 int4', await ourLogits('int4')],
  ['onnxruntime int8', await theirLogits('int8')],
] as const) {
  const errors = logits.map((values, step) => relativeError(values, exact[step]).toExponential(1));
  process.stdout.write(`${name}: off from mamba2 float32 by ${errors.join(', ')} of the logits' root mean square\n`);
}

async function ourLogits(dtype: StorageSetting): Promise<Float32Array[]> {
  const options = { name: shape, device: 'cpu', dtype, slots: 1, checkFinite: false } as const;
  const executor = await loadSynthetic({ config: MODEL_SHAPES[shape], seed: 0 }, threads, options);
  const step = async (numComputedTokens: number, ids: readonly number[]) => {
    const sequences = [{ slot: 0, numComputedTokens, tokenIds: ids }];
    return (await executor.execute({ sequences, logits: 'last' })).logits;
  };
  const logits = [await step(0, tokenIds.slice(0, PROMPT))];
  for (let i = PROMPT; i < tokenIds.length; i++) logits.push(await step(i, [tokenIds[i]]));
  await executor.dispose();
  return logits;
}

async function theirLogits(dtype: 'float32' | 'int8'): Promise<Float32Array[]> {
  const session = await OnnxSession.load(shape, dtype, threads);
  session.begin(1);
  const logits = [await session.step(tokenIds.slice(0, PROMPT))];
  for (const id of tokenIds.slice(PROMPT)) logits.push(await session.step([id]));
  return logits;
}

function relativeError(values: Float32Array, expected: Float32Array): number {
  const squares = (some: Float32Array) => some.reduce((sum, value) => sum + value ** 2, 0);
  return Math.sqrt(squares(values.map((value, i) => value - expected[i])) / squares(expected));
}
