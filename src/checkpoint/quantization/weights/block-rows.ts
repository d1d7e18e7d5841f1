import { BLOCK_FORMATS, type BlockFormat } from '../../../tensor/block-formats.ts';
import { E4M3, E8M0 } from '../../../tensor/small-floats.ts';
import type { ReadScratch } from '../../files/read-scratch.ts';
import type { BlockCodes } from '../decode/block-codes.ts';
import { type FactorReader, TensorFactors } from '../decode/factors.ts';
import type { ScaledParts } from '../decode/scaled-matrix.ts';
import type { WeightLayout } from './weight-layout.ts';

/** Values that blocks of all formats here, but MXFP4, have. */
const BLOCK = 128;

/** Reads rows of matrices in a format of blocks. */
export interface BlockReader {
  readonly format: BlockFormat;
  /**
   * Fills `out` with rows of a matrix.
   * @param index of the matrix in a stack, else 0.
   * @param out begins at a whole word of its buffer.
   * @param scratch memory for codes; `out` does not lie in it.
   */
  readRows(
    index: number,
    firstRow: number,
    rows: number,
    out: Uint8Array<ArrayBuffer>,
    scratch?: ReadScratch,
  ): Promise<void>;
}

/**
 * Blocks of matrices that lie in codes and scales, if a format has exactly their values. Looks into the file where that
 * depends on values: zero points, the order of columns, and scales of more bits than blocks keep.
 * @param shape of the weight.
 */
export async function blockRows(
  shape: readonly number[],
  layout: WeightLayout,
  parts: ScaledParts,
): Promise<BlockReader | undefined> {
  const { codes, scales, biases, columnsPerScale, groupOfColumn } = parts;
  const [rows, columns] = shape.slice(-2);
  if (codes.blocks === undefined || biases !== undefined || columns % BLOCK !== 0) return undefined;
  const format = formatOf(layout, codes.blocks.bits, parts);
  if (format === undefined) return undefined;
  if ((await groupOfColumn?.()) !== undefined) return undefined;
  const reader = { codes: codes.blocks, columns, columnsPerScale };
  if (format === 'MXFP4' || format === 'NVFP4') {
    return scales instanceof TensorFactors ? new FloatBlocks(format, { ...reader, scales }) : undefined;
  }
  const count = shape.length === 3 ? shape[0] : 1;
  const needsCheck = codes.blocks.bits === 8 || parts.zeroPoints instanceof TensorFactors;
  if (needsCheck && !(await areZerosKept(parts.zeroPoints, codes.blocks, count, rows))) return undefined;
  if (codes.blocks.bits === 4 && layout.scale === 'F32' && !(await areScalesKept(scales, count, rows)))
    return undefined;
  return new ScaledBlocks(format, { ...reader, scales, zeroPoints: parts.zeroPoints });
}

/** The format for codes of a kind and scales of an extent. */
function formatOf(
  { code, rowsPerScale }: WeightLayout,
  bits: 4 | 8,
  { scales, columnsPerScale: size }: ScaledParts,
): BlockFormat | undefined {
  const isWide = size === Infinity || size % BLOCK === 0;
  if (code === 'E2M1') {
    if (!(scales instanceof TensorFactors) || rowsPerScale !== 1 || scales.divisor !== 1) return undefined;
    if (scales.values === E8M0 && size === 32 && !scales.isScaled) return 'MXFP4';
    return scales.values === E4M3 && size === 16 ? 'NVFP4' : undefined;
  }
  // A quotient of scales is no float32.
  if (scales instanceof TensorFactors && scales.divisor !== 1) return undefined;
  if (code === 'E4M3') return isWide ? 'F8_E4M3' : undefined;
  if (code !== 'int' && code !== 'uint') return undefined;
  if (bits === 8) return isWide ? 'INT8_G128' : undefined;
  if (size === 32) return 'INT4_G32';
  if (size === 64) return 'INT4_G64';
  return isWide ? 'INT4_G128' : undefined;
}

/** Whether blocks hold all zero points: of bytes none, of four bits 0 to 16. */
async function areZerosKept(
  zeros: FactorReader | undefined,
  { bits, base }: BlockCodes,
  count: number,
  rows: number,
): Promise<boolean> {
  const most = bits === 8 ? 0 : 16;
  const isKept = (zero: number) => zero - base >= 0 && zero - base <= most;
  if (zeros === undefined) return isKept(0);
  for (let index = 0; index < count; index++) {
    if (!(await zeros.readRows(index, 0, rows)).every(isKept)) return false;
  }
  zeros.release?.();
  return true;
}

/** Whether the low byte of all scales, which are stored as float32, is 0. */
async function areScalesKept(scales: FactorReader, count: number, rows: number): Promise<boolean> {
  const areShort = (words: Uint32Array) => {
    let bits = 0;
    for (let i = 0; i < words.length; i++) bits |= words[i];
    return (bits & 0xff) === 0;
  };
  if (scales instanceof TensorFactors) return areShort(wordsOf(await scales.tensor.readBytes()));
  for (let index = 0; index < count; index++) {
    const floats = new Float32Array(await scales.readRows(index, 0, rows));
    if (!areShort(new Uint32Array(floats.buffer))) return false;
  }
  scales.release?.();
  return true;
}

interface BlockParts {
  readonly codes: BlockCodes;
  readonly columns: number;
  /** Infinity: all. */
  readonly columnsPerScale: number;
}

/** MXFP4 and NVFP4: the scales' own bytes, and a factor. */
class FloatBlocks implements BlockReader {
  readonly format: 'MXFP4' | 'NVFP4';
  readonly #parts: BlockParts & { readonly scales: TensorFactors };

  constructor(format: 'MXFP4' | 'NVFP4', parts: BlockParts & { readonly scales: TensorFactors }) {
    this.format = format;
    this.#parts = parts;
  }

  async readRows(
    index: number,
    firstRow: number,
    rows: number,
    out: Uint8Array<ArrayBuffer>,
    scratch?: ReadScratch,
  ): Promise<void> {
    const { codes, scales } = this.#parts;
    const from = wordsOf(await codes.read(index, firstRow, rows, scratch));
    const scaleCodes = await scales.readCodes(index, firstRow, rows);
    if (this.format === 'MXFP4') {
      const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
      for (let block = 0, at = 0, code = 0; at < out.length; block++, at += BLOCK_FORMATS.MXFP4.blockBytes) {
        out[at] = scaleCodes[block];
        for (let i = 1; i < 17; i += 4) view.setUint32(at + i, from[code++], true);
      }
      return;
    }
    const to = wordsOf(out);
    const scaleWords = wordsOf(scaleCodes);
    const [factor] = new Uint32Array(Float32Array.of(await scales.readGlobal(index)).buffer);
    for (let at = 0, scale = 0, code = 0; at < to.length; ) {
      to[at++] = factor;
      to[at++] = scaleWords[scale++];
      to[at++] = scaleWords[scale++];
      for (let i = 0; i < 16; i++) to[at++] = from[code++];
    }
  }
}

/** Codes of whole numbers and of E4M3: words of scales, with zero points for codes of 4 bits, then words of codes. */
class ScaledBlocks implements BlockReader {
  readonly format: BlockFormat;
  readonly #parts: BlockParts & { readonly scales: FactorReader; readonly zeroPoints: FactorReader | undefined };

  constructor(
    format: BlockFormat,
    parts: BlockParts & { readonly scales: FactorReader; readonly zeroPoints: FactorReader | undefined },
  ) {
    this.format = format;
    this.#parts = parts;
  }

  async readRows(
    index: number,
    firstRow: number,
    rows: number,
    out: Uint8Array<ArrayBuffer>,
    scratch?: ReadScratch,
  ): Promise<void> {
    const { codes, scales, columns, columnsPerScale } = this.#parts;
    const from = wordsOf(await codes.read(index, firstRow, rows, scratch));
    const words = await this.#scaleWords(index, firstRow, rows);
    const to = wordsOf(out);
    const blockWords = BLOCK_FORMATS[this.format].blockBytes / 4;
    const codeWords = codes.bits * (BLOCK / 32);
    const scaleWords = blockWords - codeWords;
    const perScale = BLOCK / scaleWords;
    const groupOf = Uint32Array.from({ length: columns / perScale }, (_, i) =>
      Math.floor((i * perScale) / columnsPerScale),
    );
    const { groups, rowsPerFactor } = scales;
    const firstFactor = Math.floor(firstRow / rowsPerFactor);
    for (let row = 0, at = 0, code = 0; row < rows; row++) {
      const factorRow = (Math.floor((firstRow + row) / rowsPerFactor) - firstFactor) * groups;
      for (let scale = 0; scale < groupOf.length; ) {
        for (let i = 0; i < scaleWords; i++) to[at++] = words[factorRow + groupOf[scale++]];
        for (let i = 0; i < codeWords; i++) to[at++] = from[code++];
      }
    }
  }

  /** Scales as float32, with zero points in the low bytes of codes of 4 bits. */
  async #scaleWords(index: number, firstRow: number, rows: number): Promise<Uint32Array> {
    const { codes, scales, zeroPoints } = this.#parts;
    const words = new Uint32Array(new Float32Array(await scales.readRows(index, firstRow, rows)).buffer);
    if (codes.bits === 8) return words;
    const zeros = await zeroPoints?.readRows(index, firstRow, rows);
    for (let i = 0; i < words.length; i++) words[i] |= (zeros?.[i] ?? 0) - codes.base;
    return words;
  }
}

function wordsOf({ buffer, byteOffset, length }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / 4);
}
