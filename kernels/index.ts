// Everything that the CPU backend calls but for products (products/index.ts) and weights in blocks (blocks/index.ts). Addresses and strides are in bytes; counts are in elements.
export { activateAndMulRows, activateRows } from './activation';
export { attentionScratch, pagedAttention } from './attention';
export { convRows, convSequence } from './conv';
export { cacheRows, rotaryRows } from './kv-cache';
export { narrowKvRows, widenKvRows } from './kv-values';
export { linearF8, packF8 } from './linear-fp8';
export { logDecaySums } from './decay';
export { embeddingRows, packBF16, packF32, packInt8 } from './pack';
export { packInt4 } from './pack-int4';
export { quantizeRows } from './quantized';
export { addWeightedRows, expertRows, routingScratch, topKRouting } from './routing';
export {
  add, clear, copyRows, gatherRows, groupSquareSums, mulColumns, mulScalar, rmsNorm, scaleByGroupNorm, scaleRows, siluGate,
} from './rows';
export { scanRows, scanScratch, scanSequence } from './scan';
export { scanShortRows, scanShortScratch, scanShortSequence } from './scan-short';
