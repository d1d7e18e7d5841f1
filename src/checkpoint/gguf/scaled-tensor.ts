import { GgufError } from '../../errors.ts';
import type { ReadScratch } from '../files/read-scratch.ts';
import { type RowRange, resolveRows } from '../files/row-range.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import { withFactors } from './gguf-blocks.ts';

const WEIGHT = '.weight';

/**
 * Multiplies weights by the scales that a file holds next to them, and removes those from the tensors. Converters of
 * NVFP4 write one number `X.scale` for `X.weight`, or one for each expert. What they write of activations
 * (`X.input_scale`) has no use here: activations keep more bits than that.
 * @throws GgufError when there are neither one scale nor one for each expert
 */
export function applyScales(tensors: ReadonlyMap<string, StoredTensor>, fileName: string): Map<string, StoredTensor> {
  const applied = new Map(tensors);
  for (const [name, weight] of tensors) {
    if (!name.endsWith(WEIGHT)) continue;
    const stem = name.slice(0, -WEIGHT.length);
    const scale = tensors.get(`${stem}.scale`);
    if (scale !== undefined) {
      assertScales(scale, weight, `${fileName}: '${stem}.scale'`);
      applied.set(name, scaledTensor(weight, scale));
      applied.delete(`${stem}.scale`);
    }
    applied.delete(`${stem}.input_scale`);
  }
  return applied;
}

function assertScales({ shape, dtype }: StoredTensor, weight: StoredTensor, where: string): void {
  const count = shape.reduce((product, size) => product * size, 1);
  const isForExperts = weight.shape.length === 3 && count === weight.shape[0];
  if (dtype === 'F32' && (count === 1 || isForExperts)) return;
  const experts = weight.shape.length === 3 ? ` or ${weight.shape[0]}` : '';
  throw new GgufError(
    `${where} is ${dtype} of shape [${shape}], expected F32 with 1${experts} values.`,
    'The file is damaged or of a converter that is not known here; get another quantization of the model.',
  );
}

function scaledTensor(weight: StoredTensor, scale: StoredTensor): StoredTensor {
  let scales: Promise<Float32Array> | undefined;
  const readScales = () => {
    // A failure is not kept: the next read may succeed.
    scales ??= scale.readFloat32().catch((error: unknown) => {
      scales = undefined;
      throw error;
    });
    return scales;
  };
  return {
    ...weight,
    // Its blocks alone are not its values.
    dtype: `${weight.dtype} × ${scale.dtype}`,
    byteLength: weight.byteLength + scale.byteLength,
    blocks: withFactors(weight.blocks, readScales, (range = {}) => resolveRows(weight.file, weight.shape, range)),
    async readFloat32(range: RowRange = {}, scratch?: ReadScratch): Promise<Float32Array> {
      const { firstRow, rows } = resolveRows(weight.file, weight.shape, range);
      // First, because a read may use the scratch memory.
      const factors = await readScales();
      const values = await weight.readFloat32({ firstRow, rows }, scratch);
      const rowValues = rows === 0 ? 0 : values.length / rows;
      for (let row = 0; row < rows; row++) {
        const factor = factors[factors.length === 1 ? 0 : firstRow + row];
        for (let i = row * rowValues; i < (row + 1) * rowValues; i++) values[i] *= factor;
      }
      return values;
    },
  };
}
