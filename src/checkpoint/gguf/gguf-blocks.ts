import { BLOCK_FORMATS, fitsBlocks, isBlockFormat } from '../../tensor/block-formats.ts';
import type { StoredBlocks, StoredTensor } from '../files/stored-tensor.ts';

/** Values and bytes of ggml's own NVFP4 blocks: four scales, 32 bytes of codes. */
const NVFP4_VALUES = 64;
const NVFP4_BYTES = 36;

/** Blocks of a tensor in a file: most types are formats themselves, NVFP4 is repacked. */
export function ggufBlocks(
  type: string,
  shape: readonly number[],
  readBytes: StoredTensor['readBytes'],
): StoredBlocks | undefined {
  if (shape.length < 2 || !isBlockFormat(type) || !fitsBlocks(type, shape[shape.length - 1])) return undefined;
  if (type !== 'NVFP4') return { format: type, read: readBytes };
  return { format: type, read: async (range, scratch) => nvfp4Blocks(await readBytes(range, scratch)) };
}

/**
 * ggml's NVFP4 as blocks with a factor of 1. Its scales have no sign, and stand for 0 where E4M3 has NaN. Of 16 inputs
 * it has the first half in the lower halves of eight bytes, of 32 the format has it in those of sixteen.
 */
function nvfp4Blocks(stored: Uint8Array): Uint8Array<ArrayBuffer> {
  const { blockValues, blockBytes } = BLOCK_FORMATS.NVFP4;
  const parts = blockValues / NVFP4_VALUES;
  const count = stored.length / (parts * NVFP4_BYTES);
  const blocks = new Uint8Array(count * blockBytes);
  const view = new DataView(blocks.buffer);
  for (let block = 0; block < count; block++) {
    view.setFloat32(block * blockBytes, 1, true);
    for (let part = 0; part < parts; part++) {
      const from = (parts * block + part) * NVFP4_BYTES;
      const scales = block * blockBytes + 4 + 4 * part;
      for (let group = 0; group < 4; group++) {
        const scale = stored[from + group] & 0x7f;
        blocks[scales + group] = scale === 0x7f ? 0 : scale;
      }
      // Two groups of the file, 16 bytes, are 32 inputs here.
      for (let pair = 0; pair < 2; pair++) {
        const codes = from + 4 + 16 * pair;
        const to = block * blockBytes + 12 + 32 * part + 16 * pair;
        for (let j = 0; j < 8; j++) {
          const [first, second] = [stored[codes + j], stored[codes + 8 + j]];
          blocks[to + j] = (first & 15) | ((second & 15) << 4);
          blocks[to + 8 + j] = (first >> 4) | (second & 0xf0);
        }
      }
    }
  }
  return blocks;
}

/** NVFP4 blocks, whose factors are 1, with others: one for all, or one for each row of the tensor. */
export function withFactors(
  blocks: StoredBlocks | undefined,
  factorsOf: () => Promise<Float32Array>,
  rowsOf: (range: Parameters<StoredBlocks['read']>[0]) => { readonly firstRow: number; readonly rows: number },
): StoredBlocks | undefined {
  if (blocks?.format !== 'NVFP4') return undefined;
  return {
    format: 'NVFP4',
    async read(range, scratch) {
      const factors = await factorsOf();
      const { firstRow, rows } = rowsOf(range);
      const bytes = await blocks.read({ firstRow, rows }, scratch);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const perRow = bytes.length / Math.max(rows, 1);
      for (let at = 0; at < bytes.length; at += BLOCK_FORMATS.NVFP4.blockBytes) {
        const row = firstRow + Math.floor(at / perRow);
        view.setFloat32(at, factors[factors.length === 1 ? 0 : row], true);
      }
      return bytes;
    },
  };
}
