import { BLOCK_FORMATS, type BlockFormat, fitsBlocks, isBlockFormat } from '../../tensor/block-formats.ts';
import type { StoredBlocks, StoredTensor } from '../files/stored-tensor.ts';
import { IQ4_LEVELS } from './types/table-quants.ts';

/** Types whose values another format has exactly, which takes more bytes, and the bytes of their blocks. */
const REPACKED: Readonly<Record<string, Repacking>> = {
  Q5_0: { format: 'Q8_0', blockBytes: 22, repack: levelsOfQ5 },
  IQ4_NL: { format: 'Q8_0', blockBytes: 18, repack: levelsOfIq4 },
  Q3_K: { format: 'Q6_K', blockBytes: 110, repack: widerQ3K },
  // Two blocks of 64 values are one of 128.
  NVFP4: { format: 'NVFP4', blockBytes: 72, repack: nvfp4WithFactor },
};

interface Repacking {
  readonly format: BlockFormat;
  /** Bytes in the file that become a block. */
  readonly blockBytes: number;
  /** Fills a block of zeros at `to`. */
  repack(stored: Uint8Array, from: number, blocks: Uint8Array, to: number): void;
}

/** Blocks of a tensor in a file: most types are formats themselves. */
export function ggufBlocks(
  type: string,
  shape: readonly number[],
  readBytes: StoredTensor['readBytes'],
): StoredBlocks | undefined {
  const repacking = Object.hasOwn(REPACKED, type) ? REPACKED[type] : undefined;
  const format = repacking?.format ?? type;
  if (shape.length < 2 || !isBlockFormat(format) || !fitsBlocks(format, shape[shape.length - 1])) return undefined;
  if (repacking === undefined) return { format, read: readBytes };
  return { format, read: async (range, scratch) => repacked(await readBytes(range, scratch), repacking) };
}

function repacked(stored: Uint8Array, { format, blockBytes, repack }: Repacking): Uint8Array<ArrayBuffer> {
  const count = stored.length / blockBytes;
  const size = BLOCK_FORMATS[format].blockBytes;
  const blocks = new Uint8Array(count * size);
  for (let block = 0; block < count; block++) repack(stored, block * blockBytes, blocks, block * size);
  return blocks;
}

/** Q5_0 → Q8_0: the same scale, and q - 16 as a byte. */
function levelsOfQ5(stored: Uint8Array, from: number, blocks: Uint8Array, to: number): void {
  blocks[to] = stored[from];
  blocks[to + 1] = stored[from + 1];
  const low = stored[from + 2] | (stored[from + 3] << 8);
  const high = stored[from + 4] | (stored[from + 5] << 8);
  for (let j = 0; j < 16; j++) {
    const q = stored[from + 6 + j];
    blocks[to + 2 + j] = ((q & 15) | (((low >> j) & 1) << 4)) - 16;
    blocks[to + 18 + j] = ((q >> 4) | (((high >> j) & 1) << 4)) - 16;
  }
}

/** IQ4_NL → Q8_0: the same scale, and the level as a byte. */
function levelsOfIq4(stored: Uint8Array, from: number, blocks: Uint8Array, to: number): void {
  blocks[to] = stored[from];
  blocks[to + 1] = stored[from + 1];
  for (let j = 0; j < 16; j++) {
    const q = stored[from + 2 + j];
    blocks[to + 2 + j] = IQ4_LEVELS[q & 15];
    blocks[to + 18 + j] = IQ4_LEVELS[q >> 4];
  }
}

/** Q3_K → Q6_K: the same d, scales of 6 bits as bytes, and q - 4 as q + 28 - 32. */
function widerQ3K(stored: Uint8Array, from: number, blocks: Uint8Array, to: number): void {
  for (let group = 0; group < 16; group++) {
    const low = (stored[from + 96 + (group & 7)] >> (4 * (group >> 3))) & 15;
    const high = (stored[from + 104 + (group & 3)] >> (2 * (group >> 2))) & 3;
    blocks[to + 192 + group] = (low | (high << 4)) - 32;
    const hmask = from + 16 * (group & 1);
    const qs = from + 32 + 32 * (group >> 3) + 16 * (group & 1);
    // Half a block has four pairs of groups: the first two lie in the lower halves of the bytes of `ql`, the others in the upper.
    const pair = (group & 7) >> 1;
    const ql = to + 64 * (group >> 3) + 32 * (pair & 1) + 16 * (group & 1);
    const qh = to + 128 + 32 * (group >> 3) + 16 * (group & 1);
    for (let j = 0; j < 16; j++) {
      const q = ((stored[qs + j] >> (group & 6)) & 3) | (((stored[hmask + j] >> (group >> 1)) & 1) << 2);
      const code = q + 28;
      blocks[ql + j] |= (code & 15) << (4 * (pair >> 1));
      blocks[qh + j] |= (code >> 4) << (2 * pair);
    }
  }
  blocks[to + 208] = stored[from + 108];
  blocks[to + 209] = stored[from + 109];
}

/**
 * ggml's NVFP4 as blocks with a factor of 1. Its scales have no sign, and stand for 0 where E4M3 has NaN. Of 16 inputs
 * it has the first half in the lower halves of eight bytes, of 32 the format has it in those of sixteen.
 */
function nvfp4WithFactor(stored: Uint8Array, begin: number, blocks: Uint8Array, to: number): void {
  // 1 as float32.
  blocks[to + 2] = 0x80;
  blocks[to + 3] = 0x3f;
  for (let part = 0; part < 2; part++) {
    const from = begin + 36 * part;
    for (let group = 0; group < 4; group++) {
      const scale = stored[from + group] & 0x7f;
      blocks[to + 4 + 4 * part + group] = scale === 0x7f ? 0 : scale;
    }
    // Two groups of the file, 16 bytes, are 32 inputs here.
    for (let pair = 0; pair < 2; pair++) {
      const codes = from + 4 + 16 * pair;
      const at = to + 12 + 32 * part + 16 * pair;
      for (let j = 0; j < 8; j++) {
        const [first, second] = [stored[codes + j], stored[codes + 8 + j]];
        blocks[at + j] = (first & 15) | ((second & 15) << 4);
        blocks[at + 8 + j] = (first >> 4) | (second & 0xf0);
      }
    }
  }
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
