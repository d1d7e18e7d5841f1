import { BLOCK_FORMATS, type BlockFormat, blockRowBytes } from '../../../tensor/block-formats.ts';

/** Formats that shaders/blocks has texts for: all. */
export const WEBGPU_BLOCK_FORMATS: ReadonlySet<BlockFormat> = new Set(Object.keys(BLOCK_FORMATS) as BlockFormat[]);

/** Bytes of each block that lie apart from its others on the device. Formats of whole words have none. */
const APART: Readonly<Partial<Record<BlockFormat, { readonly begin: number; readonly bytes: number }>>> = {
  Q8_0: { begin: 0, bytes: 2 },
  Q4_0: { begin: 0, bytes: 2 },
  Q6_K: { begin: 208, bytes: 2 },
  MXFP4: { begin: 0, bytes: 1 },
};

/** u32 words of a row in blocks. */
export function blockRowWords(format: BlockFormat, columns: number): number {
  return Math.ceil(blockRowBytes(format, columns) / 4);
}

/**
 * Rows of blocks as kernels read them, in words: the blocks, one after another. Where blocks are no whole words, the bytes
 * that are too many (a scale each) follow the row's last block.
 * @param blocks rows of so many columns, as a file holds them; they are returned if nothing moves.
 */
export function packBlocks(format: BlockFormat, columns: number, blocks: Uint8Array): Uint8Array {
  const apart = APART[format];
  if (apart === undefined) return blocks;
  const { blockBytes } = BLOCK_FORMATS[format];
  const rowBytes = blockRowBytes(format, columns);
  const packedBytes = 4 * blockRowWords(format, columns);
  const rows = blocks.length / rowBytes;
  const count = rowBytes / blockBytes;
  const packed = new Uint8Array(rows * packedBytes);
  const end = apart.begin + apart.bytes;
  for (let row = 0; row < rows; row++) {
    let from = row * rowBytes;
    let to = row * packedBytes;
    let toApart = to + count * (blockBytes - apart.bytes);
    for (let block = 0; block < count; block++) {
      for (let i = 0; i < apart.begin; i++) packed[to++] = blocks[from + i];
      for (let i = apart.begin; i < end; i++) packed[toApart++] = blocks[from + i];
      for (let i = end; i < blockBytes; i++) packed[to++] = blocks[from + i];
      from += blockBytes;
    }
  }
  return packed;
}
