import { describe, expect, test } from 'vitest';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { fastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { FusedMoe, type FusedMoeOptions } from '../../src/layers/feed-forward/fused-moe.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import type { QuantizationConfig } from '../../src/layers/parameters/quantization.ts';
import type { BlockFormat } from '../../src/tensor/block-formats.ts';
import { elementCount } from '../../src/tensor/tensor.ts';
import { largestDifference } from '../numbers.ts';
import { few } from '../runs.ts';
import { blockValues, someBlocks } from '../tensor/blocks.ts';
import { SeededRandom } from './seeded.ts';

const [EXPERTS, HIDDEN, INNER, ROWS] = [3, 256, 512, 5];
const inBlocks = (format: BlockFormat): QuantizationConfig => ({ name: 'blocks', weightDType: () => format });

function options(layout: FusedMoeOptions['layout'], gated: boolean): FusedMoeOptions {
  const names = { inputName: 'up_proj', outputName: 'down_proj', prefix: 'moe' };
  const sizes = { numExperts: EXPERTS, hiddenSize: HIDDEN, intermediateSize: INNER };
  return { ...sizes, ...names, activation: 'silu', layout, gated };
}

describe.each(
  few(
    [
      ['Q8_0', 'stacked', true],
      ['F8_E4M3', 'separate', true],
      ['F8_E4M3', 'stacked', false],
      ['Q8_0', 'stacked', false],
      ['Q8_0', 'separate', true],
    ] as const,
    2,
  ),
)('experts in %s, %s, gated: %s', (format, layout, gated) => {
  test.each([1, 2])('in blocks give what their values give, over %d ranks', async (size) => {
    const backend = new CpuBackend(loadKernels(fastestKernels()));
    const x = backend.tensor(new SeededRandom(1).floats(ROWS * HIDDEN), [ROWS, HIDDEN]);
    const routing = backend.tensor(new SeededRandom(2).floats(ROWS * EXPERTS, 0, 1), [ROWS, EXPERTS]);
    const sums = { blocks: new Float32Array(ROWS * HIDDEN), values: new Float32Array(ROWS * HIDDEN) };
    for (let rank = 0; rank < size; rank++) {
      const context = new LayerContext(backend, { ...singleProcess, rank, size }, 'float32');
      const blocks = new FusedMoe(context, { ...options(layout, gated), quantConfig: inBlocks(format) });
      const values = new FusedMoe(context, options(layout, gated));
      const [inTable, valueTable] = [new ParameterTable(blocks), new ParameterTable(values)];
      for (const name of inTable.names()) {
        const shape = inTable.shape(name);
        expect(inTable.dtype(name)).toBe(format);
        const columns = shape[shape.length - 1];
        const bytes = someBlocks(format, elementCount(shape) / columns, columns, name.length);
        const rowBytes = bytes.length / shape[0];
        await inTable.streamBlocks(name, 1e5, async ({ firstRow, rows }) =>
          bytes.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes),
        );
        valueTable.load(name, blockValues(format, bytes));
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
    expect(largestDifference(sums.blocks, sums.values)).toBeLessThan((format === 'Q8_0' ? 0.05 : 1e-5) * largest);
  });
});
