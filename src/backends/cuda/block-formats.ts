import { BLOCK_FORMATS, type BlockFormat, isBlockFormat } from '../../tensor/block-formats.ts';

/** Formats whose blocks the backend keeps, as a file has them: all. */
export const CUDA_BLOCK_FORMATS: ReadonlySet<BlockFormat> = new Set(Object.keys(BLOCK_FORMATS).filter(isBlockFormat));
