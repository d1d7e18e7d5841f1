import { describe, expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { fastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { FusedMoe, type FusedMoeOptions } from '../../src/layers/feed-forward/fused-moe.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../../src/layers/parameters/quantization.ts';
import { blockRowBytes } from '../../src/tensor/block-formats.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { SeededRandom } from './seeded.ts';

const [EXPERTS, HIDDEN, INNER, ROWS] = [3, 256, 512, 5];
/** Q8_0 blocks with a scale of 2^-7: their values are whole multiples of it. */
const SCALE = [0x00, 0x20];
const inBlocks: QuantizationConfig = { name: 'blocks', weightDType: () => 'Q8_0' };

function options(layout: FusedMoeOptions['layout'], gated: boolean): FusedMoeOptions {
  const names = { inputName: 'up_proj', outputName: 'down_proj', prefix: 'moe' };
  const sizes = { numExperts: EXPERTS, hiddenSize: HIDDEN, intermediateSize: INNER };
  return { ...sizes, ...names, activation: 'silu', layout, gated };
}

describe.each(
  few([
    ['stacked', true],
    ['stacked', false],
    ['separate', true],
  ] as const),
)('%s experts, gated: %s', (layout, gated) => {
  test.each([1, 2])('in blocks give what their values give, over %d ranks', async (size) => {
    const backend = new CpuBackend(loadKernels(fastestKernels()));
    const x = backend.tensor(new SeededRandom(1).floats(ROWS * HIDDEN), [ROWS, HIDDEN]);
    const routing = backend.tensor(new SeededRandom(2).floats(ROWS * EXPERTS, 0, 1), [ROWS, EXPERTS]);
    const sums = { blocks: new Float32Array(ROWS * HIDDEN), values: new Float32Array(ROWS * HIDDEN) };
    for (let rank = 0; rank < size; rank++) {
      const context = new LayerContext(backend, { ...singleProcess, rank, size }, 'float32');
      const blocks = new FusedMoe(context, { ...options(layout, gated), quantConfig: inBlocks });
      const values = new FusedMoe(context, options(layout, gated));
      const [inTable, valueTable] = [new ParameterTable(blocks), new ParameterTable(values)];
      for (const name of inTable.names()) {
        const shape = inTable.shape(name);
        expect(inTable.dtype(name)).toBe('Q8_0');
        const bytes = Uint8Array.from(
          new SeededRandom(name.length).floats(blockRowBytes('Q8_0', elementCount(shape)), 0, 256),
        );
        for (let block = 0; block < bytes.length; block += 34) bytes.set(SCALE, block);
        const rowBytes = bytes.length / shape[0];
        await inTable.streamBlocks(name, 1e5, async ({ firstRow, rows }) =>
          bytes.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes),
        );
        const signed = new Int8Array(bytes.buffer);
        valueTable.load(
          name,
          Float32Array.from({ length: elementCount(shape) }, (_, i) => signed[34 * (i >> 5) + 2 + (i & 31)] / 128),
        );
      }
      for (const [kind, layer] of [
        ['blocks', blocks],
        ['values', values],
      ] as const) {
        const [summand] = layer.forwardPartial(x, routing).summands;
        const found = await backend.read(summand);
        for (const [i, value] of found.entries()) sums[kind][i] += value;
      }
    }
    const largest = sums.values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // Activations of 7 bits; a part of an expert that is in the wrong place makes as much as the sums are.
    expect(largestDifference(sums.blocks, sums.values)).toBeLessThan(0.05 * largest);
  });
});
