import type { Backend } from '../../../src/backends/contract/backend.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { buildMamba2Metadata, type ScheduledSequence } from '../../../src/layers/mamba/mamba2-metadata.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { isMatrixRole, ParameterTable } from '../../../src/layers/parameters/parameter.ts';
import { rowSize } from '../../../src/layers/parameters/weight-loaders.ts';
import { Mamba2ForCausalLM } from '../../../src/models/mamba2.ts';
import { readMamba2Config } from '../../../src/models/mamba2-config.ts';
import { blockRowBytes, isBlockFormat, type MatrixDType } from '../../../src/tensor/block-formats.ts';
import { inBlocks } from '../../layers/in-blocks.ts';
import { blockValues, someBlocks } from '../../tensor/blocks.ts';

export const LAYERS = 2;
const VOCAB = 40;

interface LayersShape {
  readonly groups: number;
  /** Rows of blocks must be whole ones. */
  readonly dtype: MatrixDType;
  readonly hiddenSize?: number;
  /** Of each of four heads. */
  readonly headDim?: number;
}

export function decode(slot: number): ScheduledSequence {
  return { slot, numComputedTokens: 5, numTokens: 1 };
}

export function prefill(slot: number, numTokens: number, numComputedTokens: number): ScheduledSequence {
  return { slot, numTokens, numComputedTokens };
}

/** Runs a small model on a batch: its rows, and the states after it. Padded rows mean nothing and are left out. */
export async function runLayers(
  backend: Backend,
  model: Mamba2ForCausalLM,
  batch: readonly ScheduledSequence[],
  slots: number,
): Promise<Float32Array[]> {
  const states = model.stateShapes.map(({ conv, ssm }, layer) => ({
    convState: backend.tensor(noise(`conv ${layer}`, slots * conv[0] * conv[1], 1), [slots, ...conv]),
    ssmState: backend.tensor(noise(`ssm ${layer}`, slots * ssm[0] * ssm[1] * ssm[2], 1), [slots, ...ssm]),
  }));
  const rows = batch.reduce((sum, { numTokens }) => sum + numTokens, 0);
  const ids = Int32Array.from({ length: rows }, (_, i) => (7 * i + 3) % VOCAB);
  const { reads } = backend.scope(() => {
    const metadata = buildMamba2Metadata(backend, batch, { chunkSize: 64 });
    const hidden = model.forward({ inputIds: backend.tensor(ids, [rows]), cache: states, metadata });
    return { reads: backend.read(hidden) };
  });
  const hidden = await reads;
  const width = hidden.length / rows;
  let begin = 0;
  for (const { slot, numTokens } of batch) {
    if (slot < 0) hidden.fill(0, begin * width, (begin + numTokens) * width);
    begin += numTokens;
  }
  const after = states.flatMap(({ convState, ssmState }) => [backend.read(convState), backend.read(ssmState)]);
  return [hidden, ...(await Promise.all(after))];
}

/** A small model of noise. */
export async function makeLayers(
  backend: Backend,
  { groups, dtype, hiddenSize = 64, headDim = 32 }: LayersShape,
): Promise<Mamba2ForCausalLM> {
  const config = readMamba2Config({
    model_type: 'mamba2',
    vocab_size: VOCAB,
    hidden_size: hiddenSize,
    num_hidden_layers: LAYERS,
    num_heads: 4,
    head_dim: headDim,
    n_groups: groups,
    state_size: 128,
    chunk_size: 64,
  });
  // A backend that keeps no blocks gets their values.
  const format = isBlockFormat(dtype) ? dtype : undefined;
  const quantConfig = format && backend.blockFormats?.has(format) ? inBlocks(format) : undefined;
  const context = new LayerContext(backend, singleProcess, isBlockFormat(dtype) ? 'float32' : dtype);
  const model = new Mamba2ForCausalLM(context, config, quantConfig);
  const table = new ParameterTable(model);
  // Sums of more inputs are no larger.
  const scale = 1.6 / Math.sqrt(hiddenSize);
  for (const name of table.names()) {
    const shape = table.shape(name);
    const size = rowSize(shape);
    if (format && isMatrixRole(table.role(name))) {
      const bytes = someBlocks(format, shape[0], size, seedOf(name) >>> 0);
      const rowBytes = blockRowBytes(format, size);
      if (!quantConfig) table.load(name, blockValues(format, bytes));
      else {
        await table.streamBlocks(name, 1 << 20, async ({ firstRow, rows }) => {
          return bytes.subarray(firstRow * rowBytes, (firstRow + rows) * rowBytes);
        });
      }
      continue;
    }
    const values = noise(name, shape[0] * size, name.endsWith('proj.weight') ? scale : 0.6);
    if (name.includes('norm')) for (let i = 0; i < values.length; i++) values[i] += 1;
    await table.stream(name, 1 << 20, async ({ firstRow, rows }) => {
      return values.subarray(firstRow * size, (firstRow + rows) * size);
    });
  }
  return model;
}

/** Random values from -scale to scale, which depend on the name. */
function noise(name: string, length: number, scale: number): Float32Array {
  let state = seedOf(name);
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return scale * ((state >>> 8) / 2 ** 23 - 1);
  });
}

function seedOf(name: string): number {
  return [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16777619), 2166136261);
}

/** The largest difference, relative to values above 1. */
export function worst(actual: readonly Float32Array[], expected: readonly Float32Array[]): number {
  let difference = 0;
  for (const [i, values] of expected.entries()) {
    for (const [j, value] of values.entries()) {
      const off = Math.abs(actual[i][j] - value) / (1 + Math.abs(value));
      // NaN is never the larger one.
      if (!(off <= difference)) difference = off;
    }
  }
  return difference;
}
