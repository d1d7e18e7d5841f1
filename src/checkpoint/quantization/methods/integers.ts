import type { NamedTensor, QuantizedModule } from '../weights/quantized-module.ts';

/**
 * The group of each column (`g_idx`), where a tool sorted the columns before it grouped them. Undefined where they are in
 * order, or where the list was never filled (-1).
 */
export async function readGroupIndex(
  module: QuantizedModule,
  { name, tensor }: NamedTensor,
  groups: number,
  groupSize: number,
): Promise<Uint32Array | undefined> {
  const bytes = await tensor.readBytes();
  const indices = new Int32Array(bytes.buffer, 0, bytes.length / 4);
  if (indices.every((group, column) => group === Math.floor(column / groupSize))) return undefined;
  if (indices.every((group) => group === -1)) return undefined;
  const wrong = indices.findIndex((group) => group < 0 || group >= groups);
  if (wrong === -1) return Uint32Array.from(indices);
  throw module.damaged(`'${name}' puts column ${wrong} in group ${indices[wrong]}, but there are ${groups} groups.`);
}

/** Words of 32 bits that so many codes take: filled to their last bit, or whole codes only. */
export function packedWords(count: number, bits: number): { readonly dense: number; readonly whole: number } {
  return { dense: Math.ceil((count * bits) / 32), whole: Math.ceil(count / Math.floor(32 / bits)) };
}
