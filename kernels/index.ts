// Everything that the CPU backend calls. Addresses and strides are in bytes; counts are in elements.
export { convSequence, convStep } from './conv';
export { linearBF16, linearF32 } from './linear-f32';
export { linearInt4 } from './linear-int4';
export { linearInt8 } from './linear-int8';
export { quantizeRows } from './quantized';
export { add, groupSquareSums, mulColumns, rmsNorm, scaleByGroupNorm, siluGate } from './rows';
export { scanSequence } from './scan';
