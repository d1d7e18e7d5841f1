import type { Backend } from '../../src/backends/contract/backend.ts';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { ScheduledSequence } from '../../src/layers/mamba/mamba2-metadata.ts';
import type { MatrixDType } from '../../src/tensor/block-formats.ts';
import { decode, makeLayers, prefill, runLayers, worst } from '../backends/webgpu/layers-rig.ts';
import { describe, test } from '../browser/suite/vitest-in-page.ts';

/** Rows of every number at which kernels change, and prompts. */
const rows = (count: number) => Array.from({ length: count }, (_, i) => decode(i % 7 === 3 && count > 7 ? -1 : i));
const BATCHES: Readonly<Record<string, readonly ScheduledSequence[]>> = {
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 9, 16, 20, 40, 64, 70, 130, 260].map((count) => [`${count} rows`, rows(count)]),
  ),
  'a prompt': [prefill(2, 150, 0)],
  'prompts, one of them continued': [prefill(2, 20, 0), prefill(5, 300, 30), prefill(-1, 3, 0)],
  'rows and a prompt': [decode(3), decode(4), prefill(6, 33, 0)],
};
/** So wide that workgroups share an out-projection's inputs, as its outputs are few. */
const USUAL = { hiddenSize: 256, headDim: 128 };
/** So wide that they do with many outputs. */
const WIDE = { hiddenSize: 1152, headDim: 576 };
/** Formats of blocks whose weights `someBlocks` makes about as large as layers have them. */
const BLOCKS = ['MXFP4', 'NVFP4', 'INT4_G32', 'INT4_G64', 'INT4_G128', 'INT8_G128', 'F8_E4M3'] as const;
const LAYERS = [
  { groups: 1, dtype: 'float16', ...USUAL },
  { groups: 4, dtype: 'float16', ...USUAL },
  { groups: 4, dtype: 'float16', ...WIDE },
  { groups: 2, dtype: 'bfloat16', ...USUAL },
  { groups: 1, dtype: 'int8', ...USUAL },
  { groups: 1, dtype: 'int4', ...USUAL },
  { groups: 1, dtype: 'float32', ...USUAL },
  ...BLOCKS.map((dtype) => ({ groups: 1, dtype, ...USUAL })),
] as const;

/** What the reference makes of them, which is the same for all variants. */
const expected = new Map<string, Promise<Float32Array[]>>();

/**
 * Mixer layers of every storage, in batches of every kind, against the reference.
 * @param mostOf the largest difference that weights of a dtype may make.
 * @param mostRows sequences that a batch has at most: the reference takes its time for many.
 */
export async function describeLayers(
  makeBackend: () => Promise<Backend>,
  mostOf: (dtype: MatrixDType) => number,
  mostRows = Number.POSITIVE_INFINITY,
): Promise<void> {
  for (const shape of LAYERS) {
    const { groups, dtype, hiddenSize } = shape;
    const backend = await makeBackend();
    const model = await makeLayers(backend, shape);
    const most = mostOf(dtype);
    describe(`layers of ${dtype}, ${groups} groups, ${hiddenSize} wide`, () => {
      for (const [name, batch] of Object.entries(BATCHES)) {
        const slots = 1 + Math.max(...batch.map(({ slot }) => slot));
        // Every number of rows with float16, which has the most kernels.
        if (slots > 20 && (dtype !== 'float16' || groups !== 1) && slots !== 70) continue;
        if (batch.length > mostRows) continue;
        // What the reference takes seconds for.
        if (hiddenSize === WIDE.hiddenSize && slots !== 9 && slots !== 70) continue;
        test(name, async () => {
          const key = `${dtype} ${groups} ${hiddenSize} ${name}`;
          const known = expected.get(key) ?? reference(shape, batch, slots);
          expected.set(key, known);
          const off = worst(await runLayers(backend, model, batch, slots), await known);
          // NaN is more, too.
          if (!(off <= most)) throw new Error(`differs by ${off}, expected ${most} at most`);
        });
      }
    });
  }
}

async function reference(
  shape: Parameters<typeof makeLayers>[1],
  batch: readonly ScheduledSequence[],
  slots: number,
): Promise<Float32Array[]> {
  const backend = new ReferenceBackend();
  return runLayers(backend, await makeLayers(backend, shape), batch, slots);
}
