// Products with weights in the formats that the backend packs itself. The build makes a module for each form of products: see
// form.ts. Addresses and strides are in bytes; counts are in elements.
export { linearBF16, linearF32 } from '../linear-float';
export { linearInt4 } from '../linear-int4';
export { linearInt8 } from '../linear-int8';
