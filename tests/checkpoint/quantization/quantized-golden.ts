import { goldenConfig, goldenTensors } from '../../engine/golden-folder.ts';
import { makeFolder } from '../folders.ts';
import type { QuantizationCase } from './cases.ts';
import { bytesOf, type RawTensor, rawSafetensors } from './raw-safetensors.ts';

/** Weights of linear layers. */
const PROJECTIONS = /\.(in|out)_proj\.weight$/;

/** The tiny model with quantised projections, and that with the floats that these stand for. */
export async function quantizedGolden({
  pack,
  config,
  files,
}: QuantizationCase): Promise<{ quantized: string; floats: string }> {
  const quantized: RawTensor[] = [];
  const floats: RawTensor[] = [];
  for (const [name, { shape, data }] of await goldenTensors()) {
    const plain = { name, dtype: 'F32', shape, bytes: bytesOf(data) };
    if (!PROJECTIONS.test(name)) {
      quantized.push(plain);
      floats.push(plain);
      continue;
    }
    const packed = pack(name.replace(/\.weight$/, ''), { rows: shape[0], columns: shape[1], data });
    quantized.push(...packed.tensors);
    floats.push({ ...plain, bytes: bytesOf(Float32Array.from(packed.values)) });
  }
  const golden = await goldenConfig();
  return {
    quantized: await makeFolder({
      'config.json': { ...golden, ...config },
      'model.safetensors': rawSafetensors(quantized),
      ...files,
    }),
    floats: await makeFolder({ 'config.json': golden, 'model.safetensors': rawSafetensors(floats) }),
  };
}
